//! What every rule promises about refunds: at once they leave nothing behind, later they give nobody more than if the
//! booking had never been made, however many there are and in whatever order they come.

use super::*;
use crate::quota::{Calendar, Quota};
use crate::time::WallTime;
use proptest::prelude::*;

const START: u64 = 1_000_000_000_000;

fn at(nanos: u64) -> Moment {
    Moment::at(LocalTime::from_nanos(nanos)).on(WallTime::from_unix_nanos(nanos))
}

fn rules() -> impl Strategy<Value = Rule> {
    (0u8..6, 1u32..20, 1u32..20).prop_map(|(kind, limit, burst)| {
        let quota = Quota::per_hour(limit);
        let quota = match kind {
            0 => quota.burst(burst),
            1 => quota.fixed(),
            2 => quota.sliding(),
            3 => quota.sliding_log(),
            4 => quota.soft(burst.min(limit)),
            _ => Quota::calendar(limit, Calendar::HOUR),
        };
        Rule::new(quota.into())
    })
}

/// A booking that may be given back.
struct Open {
    units: u32,
    refund: Refund,
    mark: u64,
    refunded_before: u64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn a_booking_that_is_given_back_at_once_was_never_made(
        rule in rules(),
        spent in prop::collection::vec((0u64..3_600, 1u32..8), 0..8),
        units in 1u32..20,
    ) {
        let (mut state, mut now) = (vec![0; rule.words()], START);
        for (pause, cost) in spent {
            now += pause * 1_000_000_000;
            let _ = rule.decide(&mut state, cost, at(now));
        }
        let before = state.clone();
        if rule.decide(&mut state, units, at(now)).is_allowed() {
            let refund = Refund { units, booked: at(now).now, others: 0 };
            let mark = rule.mark(&state);
            rule.give_back(&mut state, refund, mark, at(now));
            for moment in [now, now + 1, now + 1_800_000_000_000, now + 3_600_000_000_000] {
                prop_assert_eq!(rule.ask(&state, 0, at(moment)), rule.ask(&before, 0, at(moment)));
            }
        }
    }

    /// The same requests without the bookings that were given back: whatever passes here must pass there.
    #[test]
    fn refunds_give_nobody_more_than_if_the_bookings_had_never_been_made(
        rule in rules(),
        steps in prop::collection::vec((0u64..1_200, 1u32..8, 0u8..3, any::<prop::sample::Index>()), 1..60),
    ) {
        let mut now = START;
        let mut state = vec![0; rule.words()];
        let mut open: Vec<Open> = Vec::new();
        let mut refunded = 0;
        // What was kept, in the order of booking, is played again on a state of its own.
        let mut kept: Vec<(u64, u32)> = Vec::new();
        for (pause, units, what, pick) in steps {
            now += pause * 1_000_000_000;
            if what == 0 && !open.is_empty() {
                let given = open.swap_remove(pick.index(open.len()));
                let others = refunded - given.refunded_before;
                let refund = Refund { others, ..given.refund };
                rule.give_back(&mut state, refund, given.mark, at(now));
                refunded += u64::from(given.units);
                continue;
            }
            if !rule.decide(&mut state, units, at(now)).is_allowed() {
                continue;
            }
            if what == 1 {
                kept.push((now, units));
            } else {
                let refund = Refund { units, booked: at(now).now, others: 0 };
                let mark = rule.mark(&state);
                open.push(Open { units, refund, mark, refunded_before: refunded });
            }
        }
        let mut alone = vec![0; rule.words()];
        for (moment, units) in kept {
            let decision = rule.decide(&mut alone, units, at(moment));
            prop_assert!(decision.is_allowed(), "{:?}", decision);
        }
    }

    #[test]
    fn what_is_booked_beyond_the_limit_is_waited_for(rule in rules(), units in 1u32..60) {
        let mut state = vec![0; rule.words()];
        rule.book(&mut state, units, at(START));
        let stands = rule.ask(&state, 0, at(START));
        let decision = rule.ask(&state, 1, at(START));
        prop_assert_eq!(decision.is_allowed(), units < stands.limit());
        prop_assert_eq!(stands.remaining(), stands.limit().saturating_sub(units));
        if let Some(wait) = decision.retry_after() {
            let then = START + wait.as_nanos() as u64;
            prop_assert!(rule.ask(&state, 1, at(then)).is_allowed());
            prop_assert!(!rule.ask(&state, 1, at(then - 1)).is_allowed());
        }
    }
}
