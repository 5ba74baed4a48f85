//! Who joins with which settings, and what a revision changes.

use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::member::Phase;
use crate::fleet::message::Welcome;
use crate::fleet::settings::{Estimate, Settings};
use crate::fleet::tests::{Node, meet, ms, run, settings, shares};
use std::time::Duration;

#[test]
fn other_settings_are_refused_unless_their_revision_is_higher() {
    let mut store = KeyState::default();
    let mut nodes = vec![Node::new("a", 1, &settings(), ms(0))];
    run(&mut nodes, &mut store, 0, 500);
    let other = Settings {
        estimate: Estimate::Fixed(6),
        ..settings()
    };
    let mut stranger = Node::new("b", 2, &other, ms(500));
    let answer = stranger
        .beat(ms(500), &mut store, EmptyStore::Trust)
        .expect("due");
    assert!(matches!(answer.welcome, Welcome::OtherSettings(line) if line.contains("fixed:8")));
    assert_eq!(stranger.member.phase(), Phase::Refused);
    nodes.push(Node::new(
        "c",
        3,
        &Settings {
            revision: 1,
            ..other
        },
        ms(600),
    ));
    run(&mut nodes, &mut store, 600, 2_500);
    assert_eq!(
        shares(&nodes).iter().sum::<u32>(),
        6,
        "the new limit holds for old nodes too"
    );
}

#[test]
fn an_older_revision_joins_no_more_but_who_is_in_stays() {
    let mut store = KeyState::default();
    let mut nodes = vec![Node::new("a", 1, &settings(), ms(0))];
    run(&mut nodes, &mut store, 0, 500);
    // It has come in, and never heard so.
    let mut unheard = Node::new("b", 2, &settings(), ms(400));
    unheard.ask(ms(400), &mut store, EmptyStore::Trust);
    let newer = Settings {
        revision: 2,
        estimate: Estimate::Fixed(6),
        ..settings()
    };
    nodes.push(Node::new("c", 3, &newer, ms(500)));
    run(&mut nodes, &mut store, 500, 1_000);
    unheard.member.handle_failure(ms(1_000));
    nodes.push(unheard);
    run(&mut nodes, &mut store, 1_000, 2_500);
    let phases: Vec<Phase> = nodes.iter().map(|node| node.member.phase()).collect();
    assert_eq!(phases, [Phase::Active; 3]);
    let before = store.clone();
    for (incarnation, revision) in [(4, 0), (5, 1)] {
        let older = Settings {
            revision,
            ..settings()
        };
        let mut late = Node::new("d", incarnation, &older, ms(2_500));
        let answer = meet(&mut store, &mut late, 2_500);
        assert!(matches!(answer.welcome, Welcome::OtherSettings(line) if line.contains("fixed:6")));
        assert_eq!(late.member.phase(), Phase::Refused);
    }
    assert_eq!(store, before);
    // An older number for the same settings is no other settings.
    let same = Settings {
        revision: 1,
        ..newer
    };
    let mut late = Node::new("d", 6, &same, ms(2_500));
    let answer = meet(&mut store, &mut late, 2_500);
    assert_eq!(answer.welcome, Welcome::Member);
}

#[test]
fn i9_an_older_revision_that_was_in_is_held_when_the_store_forgets() {
    let mut store = KeyState::default();
    let newer = Settings {
        revision: 1,
        estimate: Estimate::Fixed(6),
        ..settings()
    };
    let mut nodes = vec![
        Node::new("a", 1, &settings(), ms(0)),
        Node::new("b", 2, &newer, ms(0)),
    ];
    run(&mut nodes, &mut store, 0, 1_000);
    assert_eq!(shares(&nodes), [3, 3]);
    store = KeyState::default();
    nodes.reverse();
    run(&mut nodes, &mut store, 1_000, 2_000);
    assert_eq!(shares(&nodes), [3, 3]);
    assert_eq!(store.committed().0, 6);
}

#[test]
fn a_stranger_moves_nothing_before_it_is_refused() {
    let mut store = KeyState::default();
    let mut nodes = vec![Node::new("a", 1, &settings(), ms(0))];
    run(&mut nodes, &mut store, 0, 500);
    let absurd = Settings {
        heartbeat: Duration::from_secs(24 * 3600),
        ttl: Duration::from_secs(24 * 3601),
        ..settings()
    };
    let before = store.clone();
    let mut stranger = Node::new("b", 2, &absurd, ms(500));
    let answer = meet(&mut store, &mut stranger, 500);
    assert!(matches!(answer.welcome, Welcome::OtherSettings(_)));
    assert_eq!(store, before);
}

#[test]
fn i9_a_stranger_that_finds_an_empty_store_first_does_not_turn_the_fleet_out() {
    let mut store = KeyState::default();
    let mut nodes: Vec<Node> = (1..=2)
        .map(|n| Node::new(&format!("n{n}"), n, &settings(), ms(0)))
        .collect();
    run(&mut nodes, &mut store, 0, 1_000);
    store = KeyState::default();
    let other = Settings {
        estimate: Estimate::Fixed(100),
        ..settings()
    };
    let mut stranger = Node::new("b", 9, &other, ms(1_000));
    stranger.beat(ms(1_000), &mut store, EmptyStore::Learn);
    run(&mut nodes, &mut store, 1_000, 2_000);
    assert_eq!(shares(&nodes), [4, 4]);
    let answer = meet(&mut store, &mut stranger, 2_000);
    assert!(matches!(answer.welcome, Welcome::OtherSettings(line) if line.contains("fixed:8")));
    run(&mut nodes, &mut store, 2_000, 6_000);
    assert_eq!(shares(&nodes), [4, 4]);
}

/// One of the promised fleet tells of it whose settings are older than the stranger's.
#[test]
fn i9_nor_does_one_of_the_same_revision_while_another_is_being_brought_in() {
    let mut store = KeyState::default();
    let deployed = |estimate| Settings {
        revision: 1,
        estimate: Estimate::Fixed(estimate),
        ..settings()
    };
    let mut old = Node::new("n1", 1, &settings(), ms(0));
    old.beat(ms(0), &mut store, EmptyStore::Trust);
    let mut new = Node::new("n2", 2, &deployed(9), ms(0));
    for at in (10..1_000).step_by(100) {
        new.beat(ms(at), &mut store, EmptyStore::Trust);
        old.beat(ms(at + 50), &mut store, EmptyStore::Trust);
    }
    store = KeyState::default();
    let mut stranger = Node::new("b", 9, &deployed(100), ms(1_000));
    stranger.beat(ms(1_000), &mut store, EmptyStore::Learn);
    old.beat(ms(1_010), &mut store, EmptyStore::Learn);
    let answer = meet(&mut store, &mut new, 1_020);
    assert_eq!(answer.welcome, Welcome::Member);
    let answer = meet(&mut store, &mut stranger, 1_030);
    assert!(matches!(answer.welcome, Welcome::OtherSettings(line) if line.contains("fixed:9")));
}

/// It is not due for seconds, and nobody else has to wait that long for its own lease.
#[test]
fn i9_learning_lasts_as_long_as_the_longest_lease_that_anybody_had() {
    let mut store = KeyState::default();
    let slow = Settings {
        heartbeat: Duration::from_secs(10),
        ttl: Duration::from_secs(30),
        ..settings()
    };
    let quick = Settings {
        revision: 1,
        ..settings()
    };
    let lease = Duration::from_secs(30 + 1 + 20);
    let mut old = Node::new("n1", 1, &slow, ms(0));
    let mut new = Node::new("n2", 2, &quick, ms(0));
    old.beat(ms(0), &mut store, EmptyStore::Trust);
    for at in (10..1_000).step_by(100) {
        new.beat(ms(at), &mut store, EmptyStore::Trust);
    }
    for at in [1_000, 1_100] {
        old.beat(ms(at), &mut store, EmptyStore::Trust);
        new.beat(ms(at + 50), &mut store, EmptyStore::Trust);
    }
    assert_eq!((old.member.ceiling(), new.member.ceiling()), (4, 4));
    // Lost once, and again before anybody else has heard of it.
    for at in [1_200, 1_300] {
        store = KeyState::default();
        let answer = new.beat(ms(at), &mut store, EmptyStore::Trust);
        assert_eq!(answer.expect("due").learning, lease);
    }
    // A fail-over to a server that knows all of it, and nobody of the old revision comes back.
    let (mut nodes, mut at) = ([new], 1_400);
    while nodes[0].member.ceiling() < 8 {
        run(&mut nodes, &mut store, at, at + 100);
        at += 100;
    }
    assert!(at > 50_000, "{at}");
    // From then on its own lease is the longest.
    store = KeyState::default();
    let answer = meet(&mut store, &mut nodes[0], at);
    assert_eq!(answer.learning, settings().lease());
}

#[test]
fn i9_learning_lasts_as_long_as_the_longest_lease_that_is_claimed() {
    let mut store = KeyState::default();
    let long = Settings {
        revision: 1,
        ttl: Duration::from_secs(20),
        ..settings()
    };
    // The last of the old revision finds the store empty first.
    let mut old = Node::new("n1", 1, &settings(), ms(0));
    old.beat(ms(0), &mut store, EmptyStore::Learn);
    let mut new = Node::new("n2", 2, &long, ms(0));
    let answer = new
        .beat(ms(10), &mut store, EmptyStore::Learn)
        .expect("due");
    assert_eq!(answer.learning, Duration::from_secs(20 + 1 + 1));
}
