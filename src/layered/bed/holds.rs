//! What is held for a request: settled in whatever window, with answers and imports in between.

use super::{EPOCH, MS, SECOND, setup};
use crate::key::Key;
use crate::layered::cell::Told;
use crate::layered::exchange::{FlushLine, ImportLine};
use crate::layered::hold::Hold;
use crate::layered::link::Link;
use crate::layered::setup::Setup;
use crate::layered::tier::{Answer, Tier};
use crate::layered::time::Moment;
use crate::layered::window::SlidingWindow;
use crate::limiter::count::Booking;
use crate::time::LocalTime;
use std::time::Duration;

const LIMIT: u32 = 100;
const KEY: Key = Key::EVERYONE;

fn tier(room: usize) -> Tier {
    let window = SlidingWindow::new(LIMIT, SECOND);
    Tier::new(Setup {
        global: true,
        ..setup(window, room)
    })
}

/// The middle of the window `number`, on a node whose origin does not answer, so that nobody waits for it.
fn middle_of(number: u64) -> Moment {
    let begin = (EPOCH / SECOND + 1) * SECOND;
    let local = number * SECOND + SECOND / 2;
    Moment {
        local: LocalTime::from_nanos(local),
        shared: begin + local,
        link: Link::Down,
        round_trip: Duration::ZERO,
    }
}

fn reserve(tier: &mut Tier, key: Key, cost: u32, now: &Moment) -> Option<Hold> {
    match tier.decide(key, cost, Booking::Kept, now) {
        Answer::Decided { decision, hold } => {
            assert_eq!(decision.is_allowed(), hold.is_some());
            hold
        }
        Answer::Wait => panic!("nobody waits for an origin that is down"),
    }
}

fn accept(tier: &mut Tier, key: Key, cost: u32, now: &Moment) {
    let Answer::Decided { decision, .. } = tier.decide(key, cost, Booking::Spent, now) else {
        panic!("nobody waits for an origin that is down");
    };
    assert!(decision.is_allowed());
}

fn left(tier: &Tier, now: &Moment) -> u32 {
    tier.ask(KEY, 0, now).remaining()
}

/// All that is to be told, with the window it belongs to counted from `first`.
fn told(tier: &mut Tier, first: &Hold) -> Vec<(u64, u32)> {
    let lines = std::iter::from_fn(|| tier.poll_flush(LocalTime::NEVER));
    let lines: Vec<FlushLine> = lines.flatten().flatten().collect();
    let line = |line: &FlushLine| (line.sequence - first.sequence(), line.told.accepted);
    lines.iter().map(line).collect()
}

#[test]
fn what_was_held_is_spent_in_its_window_and_what_was_not_is_spent_now() {
    // Settled so many windows later: (the window that it counts in, units).
    for (later, expected) in [
        (0, vec![(0, 12)]),
        (1, vec![(0, 10), (1, 2)]),
        (2, vec![(2, 12)]),
        (9, vec![(9, 12)]),
    ] {
        let mut tier = tier(9);
        let hold = reserve(&mut tier, KEY, 10, &middle_of(0)).expect("room");
        assert!(told(&mut tier, &hold).is_empty(), "nothing is spent yet");
        tier.settle(KEY, Some(hold), 10, 12, &middle_of(later));
        assert_eq!(told(&mut tier, &hold), expected, "{later} windows later");
    }
}

#[test]
fn what_was_held_fades_with_its_window() {
    let mut tier = tier(9);
    let hold = reserve(&mut tier, KEY, 10, &middle_of(0));
    for (number, stands) in [(0, 90), (1, 95), (2, 100)] {
        assert_eq!(left(&tier, &middle_of(number)), stands);
    }
    tier.settle(KEY, hold, 10, 0, &middle_of(2));
    assert_eq!(left(&tier, &middle_of(2)), 100);
}

#[test]
fn giving_back_undoes_nothing_that_was_counted_meanwhile() {
    let mut tier = tier(9);
    let now = middle_of(0);
    let hold = reserve(&mut tier, KEY, 10, &now).expect("room");
    accept(&mut tier, KEY, 5, &now);
    let line = tier
        .poll_flush(LocalTime::NEVER)
        .expect("something to tell");
    let line = line[1].expect("of this window");
    assert_eq!((line.told.accepted, line.told.known), (5, 0));
    // Others have used 20, as origin says, and 7 elsewhere; a second hold comes and goes.
    tier.handle_flush(&line, 25, now.local);
    let import = ImportLine {
        policy: 0,
        key: KEY,
        sequence: line.sequence,
        own: 25,
        foreign: 7,
    };
    tier.handle_import(&import, &now);
    let second = reserve(&mut tier, KEY, 3, &now);
    assert_eq!(left(&tier, &now), 100 - 25 - 7 - 13);
    tier.settle(KEY, Some(hold), 10, 0, &now);
    assert_eq!(left(&tier, &now), 100 - 25 - 7 - 3);
    // Late answers and repeated imports bring nothing back.
    tier.handle_flush(&line, 5, now.local);
    tier.handle_import(&import, &now);
    tier.settle(KEY, second, 3, 3, &now);
    assert_eq!(left(&tier, &now), 100 - 25 - 7 - 3);
    assert_eq!(told(&mut tier, &hold), [(0, 8)]);
}

#[test]
fn a_key_that_was_forgotten_and_came_back_keeps_what_it_counted() {
    let mut tier = tier(1);
    let hold = reserve(&mut tier, KEY, 10, &middle_of(0));
    // Two windows later nothing is held any more, and another key takes the slot; then the first comes back.
    let now = middle_of(3);
    let other = Key::of("other");
    accept(&mut tier, KEY, 1, &now);
    settle_flushes(&mut tier, now);
    accept(&mut tier, other, 1, &now);
    settle_flushes(&mut tier, now);
    let again = reserve(&mut tier, KEY, 20, &now);
    assert_eq!(tier.slots().evicted(), 2);
    assert_eq!(left(&tier, &now), 80);
    tier.settle(KEY, hold, 10, 0, &now);
    assert_eq!(left(&tier, &now), 80);
    tier.settle(KEY, hold, 10, 4, &now);
    assert_eq!(left(&tier, &now), 76);
    tier.settle(KEY, again, 20, 0, &now);
    assert_eq!(left(&tier, &now), 96);
}

#[test]
fn the_cell_of_those_without_room_settles_its_own() {
    let mut tier = tier(1);
    let now = middle_of(0);
    let held = reserve(&mut tier, KEY, 10, &now);
    let (first, second) = (Key::of("first"), Key::of("second"));
    let one = reserve(&mut tier, first, 30, &now);
    let two = reserve(&mut tier, second, 60, &now);
    assert!(reserve(&mut tier, second, 11, &now).is_none());
    tier.settle(first, one, 30, 0, &now);
    let three = reserve(&mut tier, second, 40, &now);
    assert!(three.is_some() && reserve(&mut tier, first, 1, &now).is_none());
    // Not of the key that has a slot, nor the other way.
    tier.settle(second, two, 60, 60, &now);
    assert!(reserve(&mut tier, first, 1, &now).is_none());
    assert_eq!(left(&tier, &now), 90);
    tier.settle(KEY, held, 10, 0, &now);
    assert_eq!(left(&tier, &now), 100);
    // Two windows later, what a hold came to is spent then.
    tier.settle(second, three, 40, 40, &middle_of(2));
    let late = Key::of("late");
    let _slot = reserve(&mut tier, KEY, 1, &middle_of(2));
    assert!(reserve(&mut tier, late, 61, &middle_of(2)).is_none());
    assert!(reserve(&mut tier, late, 60, &middle_of(2)).is_some());
}

#[test]
fn what_is_given_back_is_of_the_window_that_was_counted_in_last() {
    for untold in [true, false] {
        let mut tier = tier(9);
        accept(&mut tier, KEY, 40, &middle_of(0));
        let flush = |tier: &mut Tier| -> u32 {
            let lines = std::iter::from_fn(|| tier.poll_flush(LocalTime::NEVER));
            let lines = lines.flatten().flatten();
            lines.map(|line: FlushLine| line.told.accepted).sum()
        };
        if !untold {
            assert_eq!(flush(&mut tier), 40);
        }
        tier.refund(KEY, 10, &middle_of(0));
        assert_eq!(left(&tier, &middle_of(0)), 70);
        // Half of it counts in the next window, as long as nothing else is counted there.
        tier.refund(KEY, 10, &middle_of(1));
        assert_eq!(left(&tier, &middle_of(1)), 90);
        accept(&mut tier, KEY, 5, &middle_of(1));
        tier.refund(KEY, 50, &middle_of(1));
        assert_eq!(left(&tier, &middle_of(1)), 90, "no more than was counted");
        tier.refund(KEY, 50, &middle_of(1));
        assert_eq!(left(&tier, &middle_of(1)), 90);
        // Nothing of what is over, nor of a key that nobody knows.
        accept(&mut tier, KEY, 8, &middle_of(3));
        tier.refund(Key::of("unknown"), 8, &middle_of(3));
        tier.refund(KEY, 8, &middle_of(5));
        assert_eq!(left(&tier, &middle_of(5)), 100);
        accept(&mut tier, KEY, 100, &middle_of(5));
        assert_eq!(left(&tier, &middle_of(5)), 0);
    }
}

/// Origin hears of everything, and knows nothing else.
fn settle_flushes(tier: &mut Tier, now: Moment) {
    while let Some(lines) = tier.poll_flush(LocalTime::NEVER) {
        for line in lines.into_iter().flatten() {
            let Told {
                accepted, known, ..
            } = line.told;
            tier.handle_flush(&line, known.max(u64::from(accepted)), now.local);
        }
    }
    while let Some(line) = tier.poll_read() {
        tier.handle_read_failure(
            &line,
            now.local.saturating_sub(Duration::from_nanos(900 * MS)),
        );
    }
}
