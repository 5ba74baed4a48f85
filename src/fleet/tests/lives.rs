//! I10: crashes, restarts, processes of one name, and leaves.

use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::member::{Phase, Sample};
use crate::fleet::message::Welcome;
use crate::fleet::tests::{Node, SERVER, meet, ms, run, settings, shares};

#[test]
fn i10_a_crashed_node_is_reclaimed_within_ttl_drain_and_three_heartbeats() {
    let mut store = KeyState::default();
    let mut nodes: Vec<Node> = (1..=2)
        .map(|n| Node::new(&format!("n{n}"), n, &settings(), ms(0)))
        .collect();
    run(&mut nodes, &mut store, 0, 1_000);
    nodes.pop();
    let crashed = 1_000;
    run(&mut nodes, &mut store, crashed, crashed + 2_000);
    assert_eq!(shares(&nodes), [4], "its lease may still be in use");
    run(
        &mut nodes,
        &mut store,
        crashed + 2_000,
        crashed + 2_000 + 1_000 + 3 * 500,
    );
    assert_eq!(shares(&nodes), [8]);
}

#[test]
fn i10_a_restart_under_the_same_name_is_not_locked_out() {
    let mut store = KeyState::default();
    let mut nodes = vec![Node::new("a", 1, &settings(), ms(0))];
    run(&mut nodes, &mut store, 0, 500);
    nodes[0] = Node::new("a", 2, &settings(), ms(500));
    run(&mut nodes, &mut store, 500, 2_000);
    assert_eq!(
        shares(&nodes),
        [0],
        "what the old life may still run is held"
    );
    run(&mut nodes, &mut store, 2_000, 5_500);
    assert_eq!(shares(&nodes), [8]);
    assert_eq!(nodes[0].member.phase(), Phase::Active);
}

#[test]
fn i10_of_two_live_processes_with_one_name_the_later_is_refused() {
    let mut store = KeyState::default();
    let mut nodes = vec![Node::new("a", 1, &settings(), ms(0))];
    run(&mut nodes, &mut store, 0, 500);
    nodes.push(Node::new("a", 2, &settings(), ms(500)));
    run(&mut nodes, &mut store, 500, 2_500);
    assert_eq!(nodes[0].member.phase(), Phase::Active);
    assert_eq!(nodes[1].member.phase(), Phase::Refused);
    run(&mut nodes[..1], &mut store, 2_500, 6_500);
    assert_eq!(nodes[0].member.ceiling(), 8);
}

#[test]
fn i10_a_delayed_beat_of_a_dead_process_locks_nobody_out() {
    let mut store = KeyState::default();
    let mut old = Node::new("a", 1, &settings(), ms(0));
    old.beat(ms(0), &mut store, EmptyStore::Trust);
    old.member.beat_now(ms(100));
    let delayed = old
        .member
        .poll_beat(ms(100), Sample::default, 7)
        .expect("due");
    let mut new = Node::new("a", 2, &settings(), ms(200));
    new.beat(ms(200), &mut store, EmptyStore::Trust);
    store.beat(&delayed, SERVER, EmptyStore::Trust);
    let answer = new
        .beat(ms(300), &mut store, EmptyStore::Trust)
        .expect("due");
    assert_eq!(answer.welcome, Welcome::Member);
}

#[test]
fn i10_a_node_that_leaves_with_work_running_keeps_it_held() {
    let mut store = KeyState::default();
    let mut nodes: Vec<Node> = (1..=2)
        .map(|n| Node::new(&format!("n{n}"), n, &settings(), ms(0)))
        .collect();
    run(&mut nodes, &mut store, 0, 1_000);
    nodes[0].in_flight = 3;
    nodes[0].member.close(ms(1_000));
    run(&mut nodes, &mut store, 1_000, 2_000);
    assert_eq!(shares(&nodes), [0, 5]);
    nodes[0].in_flight = 0;
    run(&mut nodes, &mut store, 2_000, 2_500);
    assert_eq!(nodes[0].member.phase(), Phase::Left);
    assert_eq!(shares(&nodes), [0, 8]);
}

#[test]
fn i10_of_three_processes_with_one_name_the_first_stays() {
    let mut store = KeyState::default();
    let mut lives: Vec<Node> = (1..=3)
        .map(|n| Node::new("a", n, &settings(), ms(0)))
        .collect();
    for (at, life) in lives.iter_mut().enumerate() {
        meet(&mut store, life, 100 * at as u64);
    }
    // The second said something else before it died, which arrives when the first has proved itself.
    let report = Sample::default;
    lives[1].member.beat_now(ms(300));
    let late = lives[1].member.poll_beat(ms(300), report, 9).expect("due");
    meet(&mut store, &mut lives[0], 400);
    meet(&mut store, &mut lives[0], 500);
    store.beat(&late, SERVER, EmptyStore::Trust);
    let answer = meet(&mut store, &mut lives[0], 600);
    assert_eq!(answer.welcome, Welcome::Member);
    let answer = meet(&mut store, &mut lives[2], 700);
    assert_eq!(answer.welcome, Welcome::DuplicateName);
}

#[test]
fn i10_who_drains_does_not_refuse_its_successor() {
    let mut store = KeyState::default();
    let mut nodes = vec![Node::new("a", 1, &settings(), ms(0))];
    run(&mut nodes, &mut store, 0, 500);
    nodes[0].in_flight = 3;
    nodes[0].member.close(ms(500));
    nodes.push(Node::new("a", 2, &settings(), ms(500)));
    run(&mut nodes, &mut store, 500, 2_000);
    assert_eq!(shares(&nodes), [0, 5]);
    nodes[0].in_flight = 0;
    run(&mut nodes, &mut store, 2_000, 3_000);
    assert_eq!(nodes[0].member.phase(), Phase::Left);
    assert_eq!(shares(&nodes), [0, 8]);
}
