//! I1 to I3: what is dealt never adds up to more than the limit, whoever comes, drains or lowers it.

use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::settings::{Estimate, Settings};
use crate::fleet::tests::{Node, SERVER, ms, run, settings, shares};

#[test]
fn i1_shares_of_a_steady_fleet_sum_to_the_limit() {
    let mut store = KeyState::default();
    let mut nodes: Vec<Node> = (1..=3)
        .map(|n| Node::new(&format!("n{n}"), n, &settings(), ms(0)))
        .collect();
    run(&mut nodes, &mut store, 0, 2_000);
    let mut split = shares(&nodes);
    split.sort_unstable();
    assert_eq!(split, [2, 3, 3]);
}

#[test]
fn i2_a_joiner_gets_nothing_until_the_incumbent_has_drained_and_said_so() {
    let mut store = KeyState::default();
    let mut nodes = vec![Node::new("a", 1, &settings(), ms(0))];
    run(&mut nodes, &mut store, 0, 500);
    assert_eq!(shares(&nodes), [8]);
    nodes[0].in_flight = 8;
    nodes.push(Node::new("b", 2, &settings(), ms(500)));
    run(&mut nodes, &mut store, 500, 2_000);
    assert_eq!(shares(&nodes), [4, 0], "all eight are still running on a");
    nodes[0].in_flight = 6;
    run(&mut nodes, &mut store, 2_000, 2_500);
    assert_eq!(shares(&nodes), [4, 2]);
    nodes[0].in_flight = 4;
    run(&mut nodes, &mut store, 2_500, 3_000);
    assert_eq!(shares(&nodes), [4, 4]);
}

#[test]
fn i2_a_beat_that_arrives_when_its_lease_has_long_ended_makes_no_room() {
    let mut store = KeyState::default();
    let mut nodes = vec![Node::new("a", 1, &settings(), ms(0))];
    run(&mut nodes, &mut store, 0, 500);
    nodes[0].in_flight = 8;
    let late = nodes[0].say(ms(500)).expect("due");
    // Nothing is heard of a: it fences itself and drains, and its share goes to b.
    nodes[0].member.handle_timeout(ms(3_000));
    nodes[0].in_flight = 0;
    let mut others = vec![Node::new("b", 2, &settings(), ms(500))];
    run(&mut others, &mut store, 500, 6_000);
    assert_eq!(shares(&others), [8]);
    others[0].in_flight = 8;
    // Then comes the beat, and says that a runs eight. It does not.
    store.beat(&late, SERVER, EmptyStore::Trust);
    run(&mut others, &mut store, 6_000, 7_000);
    run(&mut nodes, &mut store, 7_000, 7_500);
    assert_eq!(shares(&others), [4]);
    assert_eq!(shares(&nodes), [0], "b still runs all eight");
    others[0].in_flight = 4;
    run(&mut others, &mut store, 7_500, 8_000);
    run(&mut nodes, &mut store, 8_000, 8_500);
    assert_eq!(shares(&nodes), [4]);
}

#[test]
fn i3_a_lower_limit_lowers_everybody_at_once() {
    let mut store = KeyState::default();
    let mut nodes: Vec<Node> = (1..=2)
        .map(|n| Node::new(&format!("n{n}"), n, &settings(), ms(0)))
        .collect();
    run(&mut nodes, &mut store, 0, 1_000);
    nodes.iter_mut().for_each(|node| node.in_flight = 4);
    // A node with a higher revision brings a lower limit.
    let lower = Settings {
        revision: 1,
        estimate: Estimate::Fixed(4),
        ..settings()
    };
    nodes.push(Node::new("n3", 3, &lower, ms(1_000)));
    run(&mut nodes, &mut store, 1_000, 2_000);
    let split = shares(&nodes);
    assert!(split[0] <= 2 && split[1] <= 2, "{split:?}");
    assert_eq!(split[2], 0, "eight are running on four");
}
