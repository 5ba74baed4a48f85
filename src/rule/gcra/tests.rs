//! The token bucket at its edges, its promises for quotas of all sizes, and its arithmetic beside a plain one.

use super::*;
use crate::quota::Quota;
use proptest::prelude::*;
use std::time::Duration;

const START: LocalTime = LocalTime::from_nanos(1_000_000_000_000);

fn rule(quota: Quota) -> Gcra {
    Gcra::new(quota.into())
}

#[test]
fn a_burst_passes_at_once_and_the_next_waits_one_interval() {
    let rule = rule(Quota::per_second(100).burst(20));
    let mut state = Tat::IDLE;
    for left in (0..20).rev() {
        let (decision, after) = rule.decide(state, 1, START);
        assert_eq!(
            (decision.outcome(), decision.remaining()),
            (Verdict::Allow, left)
        );
        state = after;
    }
    let (denied, after) = rule.decide(state, 1, START);
    assert_eq!(denied.outcome(), Verdict::Deny);
    assert_eq!((denied.limit(), denied.remaining()), (20, 0));
    assert_eq!(denied.retry_after(), Some(Duration::from_millis(10)));
    assert_eq!(denied.reset_after(), Duration::from_millis(200));
    assert_eq!(after, state, "the TAT never moves on a denial");
}

#[test]
fn a_cost_above_the_burst_is_too_large_however_long_one_waits() {
    let rule = rule(Quota::per_second(100).burst(20));
    let (decision, after) = rule.decide(Tat::IDLE, 21, START);
    assert_eq!(decision.outcome(), Verdict::TooLarge);
    assert_eq!(decision.retry_after(), None);
    assert_eq!((decision.remaining(), after), (20, Tat::IDLE));
    let (fits, _) = rule.decide(Tat::IDLE, 20, START);
    assert!(fits.is_allowed());
}

#[test]
fn zero_denies_everything_and_promises_nothing() {
    for quota in [
        Quota::DENY_ALL,
        Quota::per_second(9).burst(0),
        Quota::per_day(0).burst(5),
    ] {
        for cost in [0, 1, u32::MAX] {
            let (decision, after) = rule(quota).decide(Tat::IDLE, cost, START);
            assert_eq!(decision.outcome(), Verdict::Deny);
            assert_eq!((decision.retry_after(), decision.remaining()), (None, 0));
            assert_eq!(after, Tat::IDLE);
        }
    }
}

#[test]
fn a_cost_of_zero_tells_and_changes_nothing() {
    let rule = rule(Quota::per_minute(2));
    let (_, state) = rule.decide(Tat::IDLE, 2, START);
    let (peek, after) = rule.decide(state, 0, START);
    assert_eq!((peek.outcome(), peek.remaining()), (Verdict::Allow, 0));
    assert_eq!(peek.reset_after(), Duration::from_secs(60));
    assert_eq!(after, state);
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    let rule = rule(Quota::new(u32::MAX, Quota::MAX_WINDOW).unwrap());
    for now in [LocalTime::ZERO, LocalTime::NEVER] {
        for state in [Tat::IDLE, Tat::from_bits(u64::MAX)] {
            for cost in [0, 1, u32::MAX] {
                let (_, after) = rule.decide(state, cost, now);
                assert!(after >= state);
            }
        }
    }
}

fn quotas() -> impl Strategy<Value = Quota> {
    let limit = prop_oneof![1u32..50, 1u32..=u32::MAX];
    let window = prop_oneof![
        1_000_000u64..10_000_000_000,
        1_000_000u64..=Quota::MAX_WINDOW.as_nanos() as u64
    ];
    (limit, window, prop::option::of(1u32..100)).prop_map(|(limit, window, burst)| {
        let quota = Quota::new(limit, Duration::from_nanos(window)).unwrap();
        burst
            .and_then(|burst| quota.try_burst(burst).ok())
            .unwrap_or(quota)
    })
}

/// What a decision says, by the rule as it is told: without shortcuts, in numbers that cannot overflow.
fn plainly(rule: &Gcra, state: Tat, cost: u32, now: LocalTime) -> (Verdict, u128, u128, u128) {
    let [interval, tolerance] = [rule.interval, rule.tolerance].map(u128::from);
    let used = u128::from(state.to_bits()).saturating_sub(u128::from(now.as_nanos()) * 16);
    let wanted = used + interval * u128::from(cost);
    let (outcome, used, wait) = if rule.burst == 0 {
        (Verdict::Deny, used, NO_WAIT.into())
    } else if cost > rule.burst {
        (Verdict::TooLarge, used, NO_WAIT.into())
    } else if wanted > tolerance && cost > 0 {
        (Verdict::Deny, used, (wanted - tolerance).div_ceil(16))
    } else {
        (Verdict::Allow, wanted, NO_WAIT.into())
    };
    let left = tolerance.saturating_sub(used);
    let remaining = left.checked_div(interval).unwrap_or(0);
    (outcome, remaining, wait, used.div_ceil(16))
}

proptest! {
    #[test]
    fn the_arithmetic_is_that_of_the_rule(
        quota in prop_oneof![9 => quotas(), 1 => Just(Quota::DENY_ALL)],
        spent in 0.0..2.0,
        cost in prop_oneof![0u32..4, any::<u32>()],
        near in 0u32..3,
    ) {
        let rule = rule(quota);
        let used = (rule.tolerance as f64 * spent) as u64;
        let state = Tat::from_bits(START.as_nanos() * 16 + used);
        for cost in [cost, rule.burst.saturating_add(near).saturating_sub(1), cost % rule.burst.max(1)] {
            let (told, after) = rule.decide(state, cost, START);
            let numbers = (
                told.outcome(),
                u128::from(told.remaining()),
                u128::from(told.retry_after_nanos),
                u128::from(told.reset_after_nanos),
            );
            prop_assert_eq!(numbers, plainly(&rule, state, cost, START), "{}", cost);
            let booked = if told.is_allowed() { rule.interval * u64::from(cost) } else { 0 };
            prop_assert_eq!(after.to_bits(), state.to_bits() + booked);
        }
    }

    #[test]
    fn a_denied_caller_is_allowed_exactly_at_retry_after_and_not_one_nanosecond_before(
        quota in quotas(),
        spent in prop::collection::vec(any::<prop::sample::Index>(), 1..8),
        cost: prop::sample::Index,
    ) {
        let rule = rule(quota);
        let units = |index: prop::sample::Index| index.index(quota.burst_size() as usize) as u32 + 1;
        let mut state = Tat::IDLE;
        for index in spent {
            state = rule.decide(state, units(index), START).1;
        }
        let cost = units(cost);
        let (decision, after) = rule.decide(state, cost, START);
        if let Some(wait) = decision.retry_after() {
            prop_assert_eq!(after, state);
            prop_assert!(wait > Duration::ZERO);
            let then = START.saturating_add(wait);
            prop_assert!(rule.decide(state, cost, then).0.is_allowed());
            let tick_less = then.saturating_sub(Duration::from_nanos(1));
            prop_assert!(!rule.decide(state, cost, tick_less).0.is_allowed());
        } else {
            prop_assert!(decision.is_allowed());
        }
    }

    #[test]
    fn no_stretch_of_time_sees_more_than_the_burst_and_the_rate(
        limit in 1u32..40,
        burst in 1u32..40,
        window in 1_000_000u64..3_000_000_000,
        steps in prop::collection::vec((0u64..400_000_000, 0u32..12), 1..120),
    ) {
        let quota = Quota::new(limit, Duration::from_nanos(window)).unwrap().burst(burst);
        let rule = rule(quota);
        let (mut state, mut now) = (Tat::IDLE, START);
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for (pause, cost) in steps {
            now = now.saturating_add(Duration::from_nanos(pause));
            let (decision, after) = rule.decide(state, cost, now);
            prop_assert!(after >= state);
            state = after;
            if decision.is_allowed() {
                passed.push((now.as_nanos(), u64::from(cost)));
            }
        }
        for from in 0..passed.len() {
            let mut sum = 0;
            for &(at, cost) in &passed[from..] {
                sum += cost;
                let stretch = at - passed[from].0;
                let refill = u128::from(limit) * u128::from(stretch) / u128::from(window);
                prop_assert!(u128::from(sum) <= u128::from(burst) + refill);
            }
        }
    }

    #[test]
    fn remaining_is_what_can_be_spent_now(quota in quotas(), cost: prop::sample::Index) {
        let rule = rule(quota);
        let cost = cost.index(quota.burst_size() as usize) as u32 + 1;
        let (first, state) = rule.decide(Tat::IDLE, cost, START);
        prop_assert_eq!(first.remaining(), quota.burst_size() - cost);
        prop_assert!(rule.decide(state, first.remaining(), START).0.is_allowed());
        prop_assert!(!rule.decide(state, first.remaining().saturating_add(1), START).0.is_allowed());
        let full = START.saturating_add(first.reset_after());
        prop_assert!(state.is_idle(full));
        prop_assert_eq!(rule.decide(state, 0, full).0.remaining(), quota.burst_size());
    }
}
