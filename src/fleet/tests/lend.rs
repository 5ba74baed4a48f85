//! Slots of who has nothing to do: lent while others need them, and back at the first want (I6).

use super::*;

/// Three nodes of which `idle` have nothing to do, under a limit of `limit`, once everything has settled.
fn fleet(limit: u32, idle: &[usize]) -> (Vec<Node>, KeyState) {
    let mut store = KeyState::default();
    let settings = Settings {
        estimate: Estimate::Fixed(limit),
        ..Settings::default()
    };
    let mut nodes: Vec<Node> = (1..=3)
        .map(|n| Node::new(&format!("n{n}"), n, &settings, ms(0)))
        .collect();
    for index in idle {
        nodes[*index].demand = 0;
    }
    run(&mut nodes, &mut store, 0, 2_000);
    (nodes, store)
}

#[test]
fn i6_an_idle_node_lends_its_slot_while_others_need_it_and_has_it_back_at_its_first_want() {
    let (mut nodes, mut store) = fleet(8, &[1, 2]);
    assert_eq!(shares(&nodes), [8, 0, 0]);
    nodes[0].in_flight = 8;
    // The first request is refused, and that is said at once: in no more beats than it takes to move a slot.
    assert!(nodes[1].member.is_hungry());
    nodes[1].member.handle_starved();
    nodes[1].demand = 1;
    nodes[1].beat(ms(2_000), &mut store, EmptyStore::Trust);
    nodes[0].beat(ms(2_030), &mut store, EmptyStore::Trust);
    assert_eq!(shares(&nodes), [6, 0, 0], "a slot, and one for chance");
    nodes[0].in_flight = 6;
    nodes[0].beat(ms(2_060), &mut store, EmptyStore::Trust);
    nodes[1].beat(ms(2_090), &mut store, EmptyStore::Trust);
    assert_eq!(shares(&nodes), [6, 2, 0]);
}

#[test]
fn i6_while_nobody_needs_them_idle_nodes_keep_their_slots() {
    let (mut nodes, mut store) = fleet(16, &[1, 2]);
    // Eight and two for chance are wanted, and the rest is everybody's.
    let given = shares(&nodes);
    assert!(given[0] >= 10 && given[1..].iter().all(|share| *share >= 1));
    nodes[0].demand = 0;
    run(&mut nodes, &mut store, 2_000, 4_000);
    assert!(shares(&nodes).iter().all(|share| *share >= 1));
}

#[test]
fn i6_single_slots_go_round_among_those_who_want_one() {
    let (mut nodes, mut store) = fleet(2, &[2]);
    for at in (2_000..8_000).step_by(100) {
        run(&mut nodes, &mut store, at, at + 100);
        assert_eq!(shares(&nodes), [1, 1, 0]);
    }
    // One of them alone may have both.
    nodes[1].demand = 0;
    run(&mut nodes, &mut store, 8_000, 10_000);
    assert_eq!(shares(&nodes), [2, 0, 0]);
}
