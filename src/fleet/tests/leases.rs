//! I11: from when a lease counts, how store time passes, and what is lost on the way.

use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::member::{Event, Phase, Sample};
use crate::fleet::settings::Settings;
use crate::fleet::tests::{Node, SERVER, meet, ms, run, settings};

#[test]
fn i11_a_node_fences_itself_from_the_moment_it_sent_the_beat() {
    let mut store = KeyState::default();
    let mut node = Node::new("a", 1, &settings(), ms(0));
    node.beat(ms(0), &mut store, EmptyStore::Trust);
    let answer = node
        .ask(ms(500), &mut store, EmptyStore::Trust)
        .expect("due");
    // The answer takes 200 ms: the lease does not.
    node.hear(ms(700), answer, &mut store);
    assert_eq!(node.member.fence_at(), ms(500 + 2_000 - 200));
    assert_eq!(node.member.handle_timeout(ms(2_299)), None);
    assert_eq!(node.member.ceiling(), 8);
    assert_eq!(node.member.handle_timeout(ms(2_300)), Some(Event::Fenced));
    assert_eq!(node.member.ceiling(), 0);
}

#[test]
fn i11_a_closing_node_works_on_under_its_lease_and_not_beyond() {
    let mut store = KeyState::default();
    let mut nodes = vec![Node::new("a", 1, &settings(), ms(0))];
    run(&mut nodes, &mut store, 0, 500);
    let node = &mut nodes[0];
    node.in_flight = 3;
    let fence = node.member.fence_at();
    node.member.close(ms(500));
    assert_eq!((node.member.ceiling(), node.member.fence_at()), (0, fence));
    node.beat(ms(1_000), &mut store, EmptyStore::Trust);
    assert_eq!(node.member.phase(), Phase::Closing);
    assert_eq!(node.member.fence_at(), ms(2_800));
    assert_eq!(node.member.handle_timeout(ms(2_800)), Some(Event::Fenced));
}

#[test]
fn i11_one_beat_moves_the_store_time_by_two_heartbeats_at_most() {
    let mut store = KeyState::default();
    let mut node = Node::new("a", 1, &settings(), ms(0));
    node.beat(ms(0), &mut store, EmptyStore::Trust);
    // Asleep for an hour, or with a clock that jumped.
    let answer = node
        .beat(ms(3_600_000), &mut store, EmptyStore::Trust)
        .expect("due");
    assert_eq!(answer.store_time.as_micros(), 1_000_000);
}

#[test]
fn i11_store_time_passes_where_beats_follow_each_other_at_once() {
    let mut store = KeyState::default();
    let mut node = Node::new("a", 1, &settings(), ms(0));
    // A round trip of 300 ms, and each beat is sent when the answer to the one before it has come.
    let (mut now, mut told) = (0, 0);
    while now < 30_000 {
        node.member.beat_now(ms(now));
        let answer = node.ask(ms(now), &mut store, EmptyStore::Trust);
        let answer = answer.expect("due");
        told = answer.store_time.as_micros() / 1000;
        assert!(told <= now + 1000, "{told} after {now} ms");
        now += 300;
        node.hear(ms(now), answer, &mut store);
    }
    assert!(told > 20_000, "{told} of 30000 ms");
}

#[test]
fn an_answer_to_a_beat_from_before_the_fence_does_not_reopen_the_gate() {
    let mut store = KeyState::default();
    let mut node = Node::new("a", 1, &settings(), ms(0));
    node.beat(ms(0), &mut store, EmptyStore::Trust);
    let late = node
        .ask(ms(1_799), &mut store, EmptyStore::Trust)
        .expect("due");
    let events = node.hear(ms(1_801), late, &mut store);
    assert_eq!(events, [Event::Fenced]);
    assert_eq!(node.member.ceiling(), 0);
    node.beat(ms(1_900), &mut store, EmptyStore::Trust);
    run(std::slice::from_mut(&mut node), &mut store, 2_000, 2_500);
    assert_eq!(node.member.ceiling(), 8);
}

#[test]
fn a_lease_outlives_three_lost_messages_in_a_row() {
    let mut store = KeyState::default();
    let mut node = Node::new("a", 1, &Settings::default(), ms(0));
    node.in_flight = 1;
    for at in [0, 200, 400] {
        meet(&mut store, &mut node, at);
    }
    for lost in [true, true, true, false].into_iter().cycle().take(80) {
        // When it wants to, and not before.
        let due = node.member.poll_timeout();
        assert_eq!(node.member.handle_timeout(due), None);
        let busy = || Sample {
            in_flight: 1,
            ..Sample::default()
        };
        let beat = node.member.poll_beat(due, busy, 9).expect("one is due");
        let answer = store.beat(&beat, SERVER, EmptyStore::Trust);
        if lost {
            let late = node.member.poll_timeout();
            assert_eq!(node.member.handle_timeout(late), None);
        } else {
            node.hear(due, answer, &mut store);
        }
    }
    assert_eq!(node.member.phase(), Phase::Active);
}
