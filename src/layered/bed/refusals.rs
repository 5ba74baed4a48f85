//! A cell that origin refuses alone, as where somebody else's key is in its place.

use super::{MS, SECOND, setup};
use crate::key::Key;
use crate::layered::exchange::{FlushLine, Totals};
use crate::layered::link::Link;
use crate::layered::tier::{Answer, Tier};
use crate::layered::time::Moment;
use crate::layered::window::SlidingWindow;
use crate::limiter::count::Booking;
use crate::time::LocalTime;
use std::time::Duration;

const WINDOW: u64 = 3_600 * SECOND;
const LIMIT: u32 = 3_200;

fn after(nanos: u64) -> Moment {
    Moment {
        local: LocalTime::from_nanos(nanos),
        shared: 1_000 * WINDOW + nanos,
        link: Link::Up,
        round_trip: Duration::from_millis(1),
    }
}

/// Whether one unit is allowed at once.
fn is_allowed(tier: &mut Tier, now: &Moment) -> bool {
    let answer = tier.decide(Key::EVERYONE, 1, Booking::Spent, now);
    matches!(answer, Answer::Decided { decision, .. } if decision.is_allowed())
}

fn tell(tier: &mut Tier, now: LocalTime) -> Vec<FlushLine> {
    let lines = std::iter::from_fn(|| tier.poll_flush(now));
    lines.flatten().flatten().collect()
}

/// Up to the last part of the limit, where every decision would be told at once.
#[test]
fn what_comes_while_a_refusal_is_on_its_way_is_told_with_the_next_try() {
    let mut tier = Tier::new(setup(SlidingWindow::new(LIMIT, WINDOW), 9));
    let mut at = SECOND;
    assert!(!is_allowed(&mut tier, &after(at)), "it is not known yet");
    let read = tier.poll_read().expect("a cold view");
    tier.handle_read(&read, Totals::default(), after(at).local, &after(at));
    assert!(is_allowed(&mut tier, &after(at)));
    at += SECOND;
    for turn in 1..=10 {
        let sent = tell(&mut tier, after(at).local);
        let [line] = sent[..] else {
            panic!("{turn}: {sent:?}");
        };
        // By what was known when it was sent it is worth to wait for the answer.
        is_allowed(&mut tier, &after(at));
        at += MS;
        tier.handle_flush_refusal(&line, after(at).local);
        for ms in 0..300 {
            let now = after(at + ms * MS);
            assert!(is_allowed(&mut tier, &now), "{turn}: after {ms} ms");
            assert_eq!(tell(&mut tier, now.local), [], "{turn}: after {ms} ms");
        }
        at += 300 * MS;
    }
}
