//! `Outage::SafeShare`: slots that outlive a fence stay reserved.

use crate::fleet::key_state::KeyState;
use crate::fleet::member::Phase;
use crate::fleet::settings::{Estimate, Outage, Settings};
use crate::fleet::tests::{Node, meet, ms, run, settings, shares};
use std::time::Duration;

#[test]
fn safe_slots_outlive_the_fence_and_stay_reserved() {
    let outage = Outage::SafeShare {
        slots: 2,
        hold: Duration::from_secs(10),
    };
    let settings = Settings {
        outage,
        ..settings()
    };
    let mut store = KeyState::default();
    let mut nodes: Vec<Node> = (1..=2)
        .map(|n| Node::new(&format!("n{n}"), n, &settings, ms(0)))
        .collect();
    run(&mut nodes, &mut store, 0, 1_000);
    let mut away = nodes.pop().expect("two");
    away.member.handle_timeout(ms(4_000));
    assert_eq!(away.member.ceiling(), 2);
    assert!(away.member.fence_at() > ms(4_000));
    run(&mut nodes, &mut store, 1_000, 8_000);
    assert_eq!(shares(&nodes), [6], "two stay with the node that is away");
    away.member.handle_timeout(ms(20_000));
    assert_eq!(away.member.ceiling(), 0);
    run(&mut nodes, &mut store, 8_000, 20_000);
    assert_eq!(shares(&nodes), [8]);
}

fn safe_share(slots: u32) -> Settings {
    let hold = Duration::from_secs(10);
    Settings {
        outage: Outage::SafeShare { slots, hold },
        ..settings()
    }
}

#[test]
fn i2_safe_slots_of_a_replaced_life_stay_reserved_until_it_has_surely_stopped() {
    let settings = safe_share(2);
    let mut store = KeyState::default();
    let mut nodes: Vec<Node> = (1..=2)
        .map(|n| Node::new(&format!("n{n}"), n, &settings, ms(0)))
        .collect();
    run(&mut nodes, &mut store, 0, 1_000);
    // Cut off, replaced by another process of its name, and still at work.
    let mut away = nodes.pop().expect("two");
    nodes.push(Node::new("n2", 3, &settings, ms(1_000)));
    run(&mut nodes, &mut store, 1_000, 8_000);
    away.member.handle_timeout(ms(8_000));
    assert_eq!(away.member.ceiling(), 2);
    assert_eq!(shares(&nodes).iter().sum::<u32>(), 6);
    run(&mut nodes, &mut store, 8_000, 20_000);
    assert_eq!(shares(&nodes).iter().sum::<u32>(), 8);
}

#[test]
fn i10_a_life_that_lapsed_and_was_replaced_does_not_come_back_beside_its_successor() {
    let settings = safe_share(2);
    let mut store = KeyState::default();
    let mut nodes: Vec<Node> = (1..=2)
        .map(|n| Node::new(&format!("n{n}"), n, &settings, ms(0)))
        .collect();
    run(&mut nodes, &mut store, 0, 1_000);
    let mut away = nodes.pop().expect("two");
    // Past its deadline: only the safe slots are its own.
    run(&mut nodes, &mut store, 1_000, 6_000);
    nodes.push(Node::new("n2", 3, &settings, ms(6_000)));
    run(&mut nodes, &mut store, 6_000, 7_000);
    nodes.push(away);
    run(&mut nodes, &mut store, 7_000, 8_000);
    let phases: Vec<Phase> = nodes.iter().map(|node| node.member.phase()).collect();
    assert_eq!(phases, [Phase::Active, Phase::Refused, Phase::Active]);
    away = nodes.remove(1);
    assert_eq!(away.member.ceiling(), 0);
}

#[test]
fn i3_the_limit_falls_although_a_silent_node_keeps_its_safe_slots() {
    let settings = safe_share(2);
    let mut store = KeyState::default();
    let mut nodes: Vec<Node> = (1..=2)
        .map(|n| Node::new(&format!("n{n}"), n, &settings, ms(0)))
        .collect();
    run(&mut nodes, &mut store, 0, 1_000);
    nodes.pop();
    run(&mut nodes, &mut store, 1_000, 6_000);
    assert_eq!(shares(&nodes), [6]);
    let lower = Settings {
        revision: 1,
        estimate: Estimate::Fixed(4),
        ..settings
    };
    nodes.push(Node::new("n3", 3, &lower, ms(6_000)));
    run(&mut nodes, &mut store, 6_000, 7_000);
    assert_eq!(
        shares(&nodes),
        [1, 1],
        "two of the four are not there to give"
    );
}

#[test]
fn i2_what_a_lapsed_node_is_told_when_it_comes_back_is_held_until_it_says_otherwise() {
    let settings = safe_share(2);
    let mut store = KeyState::default();
    let mut nodes = vec![Node::new("n1", 1, &settings, ms(0))];
    run(&mut nodes, &mut store, 0, 500);
    // It joins, and hears nothing of the grant that follows until its record has lapsed.
    let mut away = Node::new("n2", 2, &settings, ms(500));
    meet(&mut store, &mut away, 500);
    run(&mut nodes, &mut store, 600, 8_000);
    assert_eq!(shares(&nodes), [6]);
    let answer = meet(&mut store, &mut away, 8_000);
    assert_eq!((answer.grant.share, away.member.ceiling()), (2, 2));
    // Replaced before it has said that it knows.
    nodes.push(Node::new("n2", 3, &settings, ms(8_000)));
    run(&mut nodes, &mut store, 8_000, 9_500);
    assert_eq!(
        shares(&nodes).iter().sum::<u32>(),
        6,
        "two may be running there"
    );
}
