//! I9: a store that forgets, and beats that come after it did.

use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::member::Sample;
use crate::fleet::tests::{Node, SERVER, meet, ms, run, settings, shares};
use std::time::Duration;

#[test]
fn i9_a_flushed_store_raises_nobody_for_one_lease_time_and_then_goes_on() {
    let mut store = KeyState::default();
    let mut nodes: Vec<Node> = (1..=2)
        .map(|n| Node::new(&format!("n{n}"), n, &settings(), ms(0)))
        .collect();
    run(&mut nodes, &mut store, 0, 1_000);
    assert_eq!(shares(&nodes), [4, 4]);
    store = KeyState::default();
    nodes.push(Node::new("n3", 3, &settings(), ms(1_000)));
    // ttl 2 s + drain 1 s + two heartbeats: the claims stand, the newcomer waits.
    run(&mut nodes, &mut store, 1_000, 4_800);
    assert_eq!(shares(&nodes), [4, 4, 0]);
    run(&mut nodes, &mut store, 4_800, 6_500);
    assert_eq!(shares(&nodes).iter().sum::<u32>(), 8);
    assert!(shares(&nodes).iter().all(|share| *share >= 2));
}

#[test]
fn i9_a_claim_of_a_late_beat_raises_nobody_after_the_first_plan_either() {
    let mut store = KeyState::default();
    let mut a = Node::new("a", 1, &settings(), ms(0));
    run(std::slice::from_mut(&mut a), &mut store, 0, 500);
    a.in_flight = 8;
    let late = a.say(ms(500)).expect("due");
    a.member.handle_timeout(ms(3_000));
    a.in_flight = 0;
    let mut b = Node::new("b", 2, &settings(), ms(500));
    run(std::slice::from_mut(&mut b), &mut store, 500, 6_000);
    assert_eq!(b.member.ceiling(), 8);
    b.in_flight = 8;
    // The store loses everything, hears from b, and then the late beat of a, which has nothing any more.
    store = KeyState::default();
    b.beat(ms(6_000), &mut store, EmptyStore::Learn);
    store.beat(&late, SERVER, EmptyStore::Learn);
    for at in (6_100..9_800).step_by(100) {
        b.beat(ms(at), &mut store, EmptyStore::Learn);
    }
    // Heard again, a still runs nothing; but what was claimed for it is planned with before it can say so twice.
    a.beat(ms(9_900), &mut store, EmptyStore::Learn);
    assert!(b.member.is_learning());
    for at in (10_000..10_300).step_by(100) {
        b.beat(ms(at), &mut store, EmptyStore::Learn);
    }
    assert_eq!(b.member.ceiling(), 4, "lowered, and still running eight");
    a.beat(ms(10_310), &mut store, EmptyStore::Learn);
    assert_eq!(a.member.ceiling(), 0);
    let mut both = [a, b];
    run(&mut both, &mut store, 10_400, 11_000);
    assert_eq!(shares(&both), [0, 4]);
    both[1].in_flight = 4;
    run(&mut both, &mut store, 11_000, 12_000);
    assert_eq!(shares(&both), [4, 4]);
}

#[test]
fn i9_an_epoch_begun_twice_by_a_repeated_beat_is_not_the_same_epoch() {
    let mut store = KeyState::default();
    let mut node = Node::new("a", 1, &settings(), ms(0));
    node.member.beat_now(ms(0));
    let first = node
        .member
        .poll_beat(ms(0), Sample::default, 7)
        .expect("due");
    let answer = store.beat(&first, SERVER, EmptyStore::Trust);
    node.hear(ms(0), answer, &mut store);
    for at in 1..10 {
        meet(&mut store, &mut node, 100 * at);
    }
    store = KeyState::default();
    store.beat(&first, SERVER, EmptyStore::Trust);
    let answer = meet(&mut store, &mut node, 1_000);
    assert_ne!(answer.epoch, 7);
    assert!(answer.learning > Duration::ZERO);
}
