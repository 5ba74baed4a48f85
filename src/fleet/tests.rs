//! Named cases of the protocol: what each promise means, step by step, on the production functions.

use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::member::{Event, Member, Phase, Sample};
use crate::fleet::message::{Answer, Beat, Committed, Report, Welcome};
use crate::fleet::plan::plan;
use crate::fleet::settings::{Estimate, Outage, Settings};
use crate::time::LocalTime;
use std::sync::Arc;
use std::time::Duration;

mod lend;

const SERVER: &str = "server";

fn settings() -> Settings {
    Settings {
        estimate: Estimate::Fixed(8),
        ..Settings::default()
    }
}

fn ms(ms: u64) -> LocalTime {
    LocalTime::from_nanos((1_000_000 + ms) * 1_000_000)
}

/// A node and what it has in flight, talking to a store that answers at once.
struct Node {
    member: Member,
    in_flight: u32,
    demand: u32,
}

impl Node {
    fn new(name: &str, incarnation: u64, settings: &Settings, now: LocalTime) -> Self {
        Self {
            member: Member::new(Arc::from(name), incarnation, settings.clone(), now),
            in_flight: 0,
            demand: 8,
        }
    }

    /// One beat and its answer, the plan and its commit if this node is asked to; answers what the store said.
    fn beat(&mut self, now: LocalTime, store: &mut KeyState, empty: EmptyStore) -> Option<Answer> {
        let answer = self.ask(now, store, empty)?;
        self.hear(now, answer.clone(), store);
        Some(answer)
    }

    /// A beat whose answer stays on the way.
    fn ask(&mut self, now: LocalTime, store: &mut KeyState, empty: EmptyStore) -> Option<Answer> {
        let beat = self.say(now)?;
        Some(store.beat(&beat, SERVER, empty))
    }

    /// A beat that stays on the way.
    fn say(&mut self, now: LocalTime) -> Option<Beat> {
        self.member.handle_timeout(now);
        self.member.beat_now(now);
        let report = Report {
            demand: self.demand,
            weight: 1,
            ..Report::default()
        };
        let in_flight = self.in_flight;
        let sample = || Sample { in_flight, report };
        let fresh = 100_000 + now.as_nanos();
        self.member.poll_beat(now, sample, fresh)
    }

    fn hear(&mut self, now: LocalTime, answer: Answer, store: &mut KeyState) -> Vec<Event> {
        let (mut events, mut ticket) = self.member.handle_answer(now, answer);
        while let Some(commit) = ticket
            .take()
            .and_then(|ticket| plan(&ticket, self.member.incarnation()))
        {
            let (answer, _) = store.commit(&commit, SERVER);
            events.extend(self.member.handle_commit(now, &answer));
            ticket = answer.ticket;
        }
        events
    }
}

/// Beats all nodes every 100 ms from `from` until `to`.
fn run(nodes: &mut [Node], store: &mut KeyState, from: u64, to: u64) {
    for at in (from..to).step_by(100) {
        for (offset, node) in nodes.iter_mut().enumerate() {
            node.beat(ms(at + 10 * offset as u64), store, EmptyStore::Trust);
        }
    }
}

fn shares(nodes: &[Node]) -> Vec<u32> {
    nodes.iter().map(|node| node.member.ceiling()).collect()
}

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

/// One beat, and what the store says to it.
fn meet(store: &mut KeyState, node: &mut Node, now: u64) -> Answer {
    node.beat(ms(now), store, EmptyStore::Trust).expect("due")
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
