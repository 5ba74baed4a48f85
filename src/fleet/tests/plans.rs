//! How long a plan may take, and what becomes of one that is committed twice.

use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::message::Committed;
use crate::fleet::plan::plan;
use crate::fleet::settings::Settings;
use crate::fleet::tests::{Node, SERVER, ms, settings};
use std::time::Duration;

#[test]
fn a_repeated_commit_is_answered_and_not_applied() {
    let mut store = KeyState::default();
    let mut node = Node::new("a", 1, &settings(), ms(0));
    let answer = node.ask(ms(0), &mut store, EmptyStore::Trust).expect("due");
    let (_, ticket) = node.member.handle_answer(ms(0), answer);
    let commit = plan(&ticket.expect("a plan is due"), 1).expect("settings of ours");
    let (first, _) = store.commit(&commit, SERVER);
    let (second, pushes) = store.commit(&commit, SERVER);
    assert_eq!(first.outcome, Committed::Applied);
    assert_eq!(second.outcome, Committed::Repeated);
    assert_eq!((second.grant, second.plan), (first.grant, first.plan));
    assert!(pushes.is_empty());
}

#[test]
fn a_planner_far_from_the_store_may_take_half_a_heartbeat() {
    let slow = Settings {
        heartbeat: Duration::from_secs(4),
        ttl: Duration::from_secs(16),
        ..settings()
    };
    let mut store = KeyState::default();
    let mut nodes: Vec<Node> = (1..=2)
        .map(|n| Node::new(&format!("n{n}"), n, &slow, ms(0)))
        .collect();
    for at in [0, 10] {
        nodes[0].beat(ms(at), &mut store, EmptyStore::Trust);
        nodes[1].beat(ms(at), &mut store, EmptyStore::Trust);
    }
    let far = nodes[0]
        .ask(ms(1_000), &mut store, EmptyStore::Trust)
        .expect("due");
    let ticket = far.ticket.as_ref().expect("a plan is due").clone();
    // Others beat while it plans.
    let near = nodes[1]
        .ask(ms(2_000), &mut store, EmptyStore::Trust)
        .expect("due");
    assert!(near.ticket.is_none());
    let commit = plan(&ticket, 1).expect("settings of ours");
    assert_eq!(store.commit(&commit, SERVER).0.outcome, Committed::Applied);
}

#[test]
fn an_answer_that_a_commit_has_overtaken_moves_no_plan_back() {
    let mut store = KeyState::default();
    let mut node = Node::new("a", 1, &settings(), ms(0));
    let answer = node.ask(ms(0), &mut store, EmptyStore::Trust).expect("due");
    let (_, ticket) = node.member.handle_answer(ms(0), answer);
    let commit = plan(&ticket.expect("a plan is due"), 1).expect("settings of ours");
    let overtaken = node.ask(ms(30), &mut store, EmptyStore::Trust);
    let overtaken = overtaken.expect("due");
    let (committed, _) = store.commit(&commit, SERVER);
    assert!(overtaken.plan < committed.plan);
    node.member.handle_commit(ms(31), &committed);
    node.member.handle_answer(ms(32), overtaken);
    let beat = node.say(ms(600)).expect("due");
    assert_eq!((beat.plan, beat.limit), (committed.plan, committed.limit));
}
