//! A limiter that is exchanged for another while it counts, as when its limit changes.

use super::{MS, PATIENCE, SECOND, Scene, World, hot, setup};
use crate::key::Key;
use crate::layered::cell::Told;
use crate::layered::exchange::{ImportLine, Totals};
use crate::layered::link::Link;
use crate::layered::tier::{Answer, Tier};
use crate::layered::time::Moment;
use crate::layered::window::SlidingWindow;
use crate::limiter::count::Booking;
use crate::time::LocalTime;
use std::time::Duration;

const WINDOW: u64 = 10 * SECOND;
const LIMIT: u32 = 1_000;

/// Hands over what `before` has, as the shell does.
fn succeed(before: &mut Tier, next: &mut Tier, keeps_time: bool, now: &Moment) {
    let mut from = Some(0);
    while let Some(number) = from {
        from = before.hand_over(number, |slot| next.take_over(slot, keeps_time, now));
    }
    for line in before.hand_over_foreign() {
        next.handle_import(&line, now);
    }
    next.take_over_overflow(&before.hand_over_overflow(), now);
}

impl World {
    /// The tier of a node goes, and another one takes its place. What is answered to the one before nobody hears.
    fn exchange(&mut self, node: usize, keeps_time: bool) {
        let now = self.moment(node);
        let mut setup = self.nodes[node].tier.setup;
        setup.seed = self.rng.u64(..);
        let mut next = Tier::new(setup);
        let it = &mut self.nodes[node];
        succeed(&mut it.tier, &mut next, keeps_time, &now);
        it.tier = next;
        it.open.clear();
        self.wake_waiting(node);
    }
}

#[test]
fn exchanged_again_and_again_under_loss_everything_is_counted_once() {
    for seed in 0..20 {
        let mut scene = Scene::new(3, LIMIT, WINDOW, 20 * MS);
        (scene.loss, scene.seed) = (5, seed);
        let mut world = scene.overloaded(2);
        for turn in 0..(2 * WINDOW / (70 * MS)) as usize {
            world.run(70 * MS);
            world.exchange(turn % 3, turn % 2 == 0);
        }
        world.run(PATIENCE.as_nanos() as u64 * 8);
        assert_eq!(world.known(), world.seen.admitted, "{seed}");
        assert!(world.seen.admitted > 1_500);
    }
}

/// Each third of a second one of the nodes; with a limit that is the same, so one exact counter knows what is right.
#[test]
fn exchanged_in_the_middle_nodes_are_as_exact_as_before() {
    let exact = |exchanged: bool| {
        let mut world = Scene::new(3, LIMIT, WINDOW, 20 * MS).overloaded(4);
        for turn in 0..(4 * WINDOW / (SECOND / 3)) as usize {
            world.run(SECOND / 3);
            if exchanged {
                world.exchange(turn % 3, true);
            }
        }
        (world.seen.accuracy(), world.seen.reads)
    };
    let ((before, reads), (exchanged, more)) = (exact(false), exact(true));
    assert!((950..=1_050).contains(&exchanged), "{exchanged} {before}");
    // Nobody who was known is read for the first time again.
    assert!(more <= reads + 120, "{more} {reads}");
}

#[test]
fn while_origin_is_away_an_exchange_gives_nobody_the_limit_again() {
    for keeps_time in [true, false] {
        let mut world = Scene::new(1, LIMIT, 10 * WINDOW, 20 * MS).overloaded(1);
        world.origins[0].away = true;
        for _ in 0..9 {
            world.run(WINDOW);
            world.exchange(0, keeps_time);
        }
        assert_eq!(world.seen.admitted, u64::from(LIMIT));
        world.origins[0].away = false;
        world.run(2 * WINDOW);
        assert_eq!(world.known(), world.seen.admitted);
    }
}

fn tier(room: usize, seed: u64) -> Tier {
    let mut setup = setup(SlidingWindow::new(LIMIT, WINDOW), room);
    // Far enough apart for their names.
    setup.seed = seed << 32;
    Tier::new(setup)
}

fn at(nanos: u64) -> Moment {
    Moment {
        local: LocalTime::from_nanos(nanos),
        shared: 1_000 * WINDOW + nanos,
        link: Link::Down,
        round_trip: Duration::from_millis(1),
    }
}

fn accept(tier: &mut Tier, key: Key, cost: u32, now: &Moment) {
    let answer = tier.decide(key, cost, Booking::Spent, now);
    assert!(matches!(answer, Answer::Decided { decision, .. } if decision.is_allowed()));
}

fn left(tier: &Tier, key: Key, now: &Moment) -> u32 {
    tier.ask(key, 0, now).remaining()
}

fn tells(tier: &mut Tier) -> Vec<(u64, Told)> {
    let lines = std::iter::from_fn(|| tier.poll_flush(LocalTime::NEVER));
    let lines = lines.flatten().flatten();
    lines.map(|line| (line.holder, line.told)).collect()
}

#[test]
fn what_was_told_and_what_was_not_goes_on_under_its_name() {
    let (mut before, mut next, now) = (tier(9, 1), tier(9, 2), at(SECOND));
    accept(&mut before, hot(), 10, &now);
    let first = tells(&mut before);
    accept(&mut before, hot(), 5, &now);
    succeed(&mut before, &mut next, true, &now);
    assert!(tells(&mut before).is_empty());
    assert_eq!(
        (left(&before, hot(), &now), left(&next, hot(), &now)),
        (LIMIT, LIMIT - 15)
    );
    let again = tells(&mut next);
    assert_eq!((first[0].0, first[0].1.accepted), (again[0].0, 10));
    assert_eq!((again.len(), again[0].1.accepted), (1, 15));
    // Who still asks the one before counts under another name.
    accept(&mut before, hot(), 3, &now);
    assert_ne!(tells(&mut before)[0].0, again[0].0);
}

#[test]
fn where_the_next_one_has_counted_already_it_counts_both() {
    let (mut before, mut next, now) = (tier(9, 1), tier(9, 2), at(SECOND));
    accept(&mut before, hot(), 20, &now);
    accept(&mut next, hot(), 4, &now);
    // When the window of the first has just ended, all of it counts.
    let later = at(WINDOW);
    accept(&mut next, hot(), 4, &later);
    succeed(&mut before, &mut next, true, &later);
    assert_eq!(left(&next, hot(), &later), LIMIT - 4 - 24);
    assert!(tells(&mut before).is_empty());
    let told = tells(&mut next);
    let told: Vec<u32> = told.iter().map(|(_, told)| told.accepted).collect();
    assert_eq!(told, [24, 4]);
    assert_eq!(next.tally().expired, 0);
}

#[test]
fn what_the_next_one_has_no_room_for_stays_and_is_told_by_the_one_before() {
    let (mut before, mut next, now) = (tier(9, 1), tier(2, 2), at(SECOND));
    for number in 0..5u32 {
        accept(&mut before, Key::of(&number), 1, &now);
    }
    succeed(&mut before, &mut next, true, &now);
    assert_eq!((before.slots().len(), next.slots().len()), (3, 2));
    assert_eq!((tells(&mut before).len(), tells(&mut next).len()), (3, 2));
}

#[test]
fn what_is_held_is_settled_where_it_went() {
    let (mut before, mut next, now) = (tier(9, 1), tier(9, 2), at(SECOND));
    let Answer::Decided { hold, .. } = before.decide(hot(), 100, Booking::Kept, &now) else {
        panic!("nobody waits while the link is down")
    };
    let hold = hold.expect("it fits");
    assert!(before.is_held_here(hot(), hold) && !next.is_held_here(hot(), hold));
    succeed(&mut before, &mut next, true, &now);
    assert!(!before.is_held_here(hot(), hold) && next.is_held_here(hot(), hold));
    assert_eq!(left(&next, hot(), &now), LIMIT - 100);
    next.settle(hot(), Some(hold), 100, 30, &now);
    assert_eq!(left(&next, hot(), &now), LIMIT - 30);
    assert!(next.has_accepted(hot()) && !before.has_accepted(hot()));
}

#[test]
fn keys_without_room_and_other_regions_are_known_to_the_next_one() {
    let (mut before, mut next, now) = (tier(1, 1), tier(1, 2), at(SECOND));
    accept(&mut before, hot(), 1, &now);
    let others = Key::of("others");
    accept(&mut before, others, LIMIT - 10, &now);
    let foreign = ImportLine {
        policy: 0,
        key: Key::of("elsewhere"),
        sequence: 1_000,
        own: 0,
        foreign: 70,
    };
    before.handle_import(&foreign, &now);
    succeed(&mut before, &mut next, true, &now);
    let answer = next.decide(others, 11, Booking::Spent, &now);
    assert!(matches!(answer, Answer::Decided { decision, .. } if !decision.is_allowed()));
    accept(&mut next, others, 10, &now);
    assert_eq!(next.foreign.get(&(foreign.key, 1_000)), Some(&70));
    assert!(before.foreign.is_empty());
}

#[test]
fn on_another_clock_the_next_one_reads_before_it_decides() {
    for keeps_time in [true, false] {
        let (mut before, mut next, now) = (tier(9, 1), tier(9, 2), at(SECOND));
        accept(&mut before, hot(), 10, &now);
        let line = before.poll_read().expect("it was cold");
        let totals = Totals {
            current: 0,
            previous: Some(0),
        };
        before.handle_read(&line, totals, now.local, &now);
        succeed(&mut before, &mut next, keeps_time, &now);
        let up = Moment {
            link: Link::Up,
            ..now
        };
        let waits = matches!(next.decide(hot(), 1, Booking::Spent, &up), Answer::Wait);
        assert_eq!(waits, !keeps_time);
    }
}
