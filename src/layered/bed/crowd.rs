//! More keys than there is room for, while origin is away.

use crate::decision::Verdict;
use crate::key::Key;
use crate::layered::bed::{SECOND, setup};
use crate::layered::link::{Link, Outage};
use crate::layered::setup::Setup;
use crate::layered::tier::{Answer, Tier};
use crate::layered::time::Moment;
use crate::layered::window::SlidingWindow;
use crate::limiter::count::Booking;
use crate::time::LocalTime;
use std::num::NonZeroU32;
use std::time::Duration;

/// Room for four keys, each with 12 units a second over three nodes.
fn tier() -> Tier {
    let window = SlidingWindow::new(12, SECOND);
    Tier::new(Setup {
        outage: Outage::Share {
            nodes: NonZeroU32::new(3).expect("not 0"),
        },
        ..setup(window, 4)
    })
}

/// What one unit of a key is told while origin does not answer, in the middle of a second.
fn decide(tier: &mut Tier, key: u64, second: u64) -> Verdict {
    let now = Moment {
        local: LocalTime::from_nanos(second * SECOND),
        shared: (1_000 + second) * SECOND + SECOND / 2,
        link: Link::Away,
        round_trip: Duration::ZERO,
    };
    let answer = tier.decide(Key::of(&key), 1, Booking::Spent, &now);
    while let Some(line) = tier.poll_read() {
        tier.handle_read_failure(&line, now.local);
    }
    match answer {
        Answer::Decided { decision, .. } => decision.outcome(),
        Answer::Wait => panic!("nobody waits for an origin that is away"),
    }
}

#[test]
fn keys_without_a_cell_of_their_own_have_a_nodes_share_together() {
    let mut tier = tier();
    for key in 0..4 {
        assert_eq!(decide(&mut tier, key, 1), Verdict::Allow);
    }
    let others = (4..100).map(|key| decide(&mut tier, key, 1));
    let allowed = others.filter(|it| *it == Verdict::Allow).count();
    assert_eq!(allowed, 4);
}

#[test]
fn the_first_keys_of_an_outage_make_room_when_their_windows_are_over() {
    let mut tier = tier();
    for second in [1, 4, 7, 10] {
        let first = 100 * second;
        for key in first..first + 4 {
            assert_eq!(decide(&mut tier, key, second), Verdict::Allow, "{key}");
        }
    }
    let tally = tier.tally();
    assert_eq!((tally.overflowed, tally.expired), (0, 12));
}
