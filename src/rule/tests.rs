//! What every rule promises, alone and beside others: nothing is booked by a denial, and a wait is exact.

use super::*;
use crate::decision::{Decision, Policy, PolicyName};
use crate::quota::{Calendar, Quota};
use proptest::prelude::*;
use std::time::Duration;

const START: u64 = 1_000_000_000_000;

fn at(nanos: u64) -> Moment {
    // Without luck, so that what may be denied by chance is.
    Moment::at(LocalTime::from_nanos(nanos)).on(WallTime::from_unix_nanos(nanos))
}

/// A quota of any kind, small enough to be reached.
fn quotas() -> impl Strategy<Value = Quota> {
    let window = prop_oneof![
        Just(1_000_000_000),
        1_000_000u64..3_000_000_000,
        // Thirty of them, and all that 20 units take to come back, fit the 36 years that can be counted.
        1_000_000u64..=Quota::MAX_WINDOW.as_nanos() as u64 / 40
    ];
    (0u8..6, 1u32..20, window, prop::option::of(1u32..20)).prop_map(
        |(kind, limit, window, burst)| {
            let quota = Quota::new(limit, Duration::from_nanos(window)).unwrap();
            match kind {
                0 => burst
                    .and_then(|burst| quota.try_burst(burst).ok())
                    .unwrap_or(quota),
                1 => quota.fixed(),
                2 => quota.sliding(),
                3 => quota.sliding_log(),
                4 => quota.soft(burst.unwrap_or(1).min(limit)),
                _ => {
                    let calendars = [Calendar::HOUR, Calendar::DAY, Calendar::MONTH];
                    Quota::calendar(limit, calendars[limit as usize % 3].utc_offset(90))
                }
            }
        },
    )
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    prop::collection::vec(quotas(), 1..4).prop_map(|quotas| {
        let named =
            |(number, quota)| Policy::new(PolicyName::new(&format!("p{number}")).unwrap(), quota);
        quotas.into_iter().enumerate().map(named).collect()
    })
}

/// Parts of the longest window of some policies, so that all of time's lines are crossed.
fn pauses(policies: &[Policy], parts: &[(u16, u32)]) -> Vec<(u64, u32)> {
    let longest = policies.iter().map(|it| it.quota().window_nanos()).max();
    let longest = u128::from(longest.unwrap());
    let pause = |part: u16| (u128::from(part) * longest / 20_000) as u64;
    parts
        .iter()
        .map(|&(part, cost)| (pause(part), cost))
        .collect()
}

#[test]
fn a_cost_of_zero_passes_however_much_is_booked() {
    for quota in [
        "5/s",
        "5/s fixed",
        "5/s sliding",
        "5/s log",
        "5/s soft 4",
        "5/h calendar",
    ] {
        let quota: Quota = quota.parse().unwrap();
        for booked in [0, 4, 5, 6, 50] {
            let rule = Rule::new(quota.into());
            let mut state = vec![0; rule.words()];
            rule.book(&mut state, booked, at(START));
            let (before, decision) = (state.clone(), rule.decide(&mut state, 0, at(START)));
            assert!(decision.is_allowed(), "{quota} after {booked}");
            assert_eq!(decision.retry_after(), None, "{quota} after {booked}");
            assert_eq!(
                decision.remaining(),
                quota.burst_size().saturating_sub(booked)
            );
            assert_eq!(state, before);
        }
    }
    let closed = Rule::new(Quota::DENY_ALL.into());
    assert!(!closed.ask(&[0], 0, at(START)).is_allowed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_denied_caller_passes_exactly_at_retry_after_and_a_denial_books_nothing(
        policies in policies(),
        parts in prop::collection::vec((0u16..20_000, 0u32..20), 1..30),
    ) {
        let rules = RuleSet::new(&policies);
        let mut state = vec![0; rules.words()];
        let mut now = START;
        for (pause, cost) in pauses(&policies, &parts) {
            now += pause;
            let before = state.clone();
            let asked = rules.ask(&state, cost, at(now));
            let decision = rules.decide(&mut state, cost, at(now));
            prop_assert_eq!(asked, decision);
            if !decision.is_allowed() || cost == 0 {
                prop_assert_eq!(&state, &before);
            }
            if let Some(wait) = decision.retry_after() {
                let then = now + wait.as_nanos() as u64;
                prop_assert!(then > now);
                prop_assert!(rules.ask(&state, cost, at(then)).is_allowed());
                prop_assert!(!rules.ask(&state, cost, at(then - 1)).is_allowed());
            }
        }
    }

    #[test]
    fn what_remains_can_be_spent_and_is_all_back_at_the_reset(
        policies in policies(),
        parts in prop::collection::vec((0u16..20_000, 1u32..20), 1..30),
    ) {
        let rules = RuleSet::new(&policies);
        let mut state = vec![0; rules.words()];
        let mut now = START;
        for (pause, cost) in pauses(&policies, &parts) {
            now += pause;
            let decisions = rules.decide_each(&mut state, cost, at(now));
            let least = decisions.each().iter().map(Decision::remaining).min().unwrap();
            prop_assert!(rules.ask(&state, least, at(now)).is_allowed());
            prop_assert!(!rules.ask(&state, least + 1, at(now)).is_allowed());
            prop_assert_eq!(rules.is_exhausted(&state, at(now)), least == 0);
            let reset = decisions.each().iter().map(Decision::reset_after).max().unwrap();
            let then = now + reset.as_nanos() as u64;
            prop_assert!(rules.is_idle(&state, at(then)));
            prop_assert_eq!(rules.part_spent(&state, at(then)), 0);
            if !reset.is_zero() && policies.len() == 1 {
                prop_assert!(!rules.is_idle(&state, at(then - 1)));
            }
            for (told, policy) in rules.ask_each(&state, 0, at(then)).each().iter().zip(&policies) {
                prop_assert_eq!(told.remaining(), policy.quota().burst_size());
            }
        }
    }

    #[test]
    fn each_policy_alone_would_allow_what_all_allow(
        policies in policies(),
        parts in prop::collection::vec((0u16..20_000, 0u32..20), 1..30),
    ) {
        let rules = RuleSet::new(&policies);
        let alone: Vec<Rule> = policies.iter().map(|policy| Rule::new(*policy)).collect();
        let mut states: Vec<Vec<u64>> = alone.iter().map(|rule| vec![0; rule.words()]).collect();
        let mut state = vec![0; rules.words()];
        let mut now = START;
        for (pause, cost) in pauses(&policies, &parts) {
            now += pause;
            let told: Vec<Decision> = alone.iter().zip(&states).map(|(rule, state)| rule.ask(state, cost, at(now))).collect();
            let decision = rules.decide(&mut state, cost, at(now));
            prop_assert_eq!(Some(&decision), crate::headers::binding(&told));
            if decision.is_allowed() {
                for (rule, state) in alone.iter().zip(&mut states) {
                    let _ = rule.decide(state, cost, at(now));
                }
            }
            prop_assert_eq!(&state, &states.concat());
        }
    }

    #[test]
    fn what_was_absorbed_allows_nothing_that_either_would_deny(
        policies in policies(),
        mine in prop::collection::vec((0u16..20_000, 1u32..20), 1..10),
        yours in prop::collection::vec((0u16..20_000, 1u32..20), 1..10),
        later in prop::collection::vec((0u16..20_000, 1u32..20), 1..10),
    ) {
        let rules = RuleSet::new(&policies);
        let after = |parts: &[(u16, u32)]| {
            let (mut state, mut now) = (vec![0; rules.words()], START);
            for (pause, cost) in pauses(&policies, parts) {
                now += pause;
                let _ = rules.decide(&mut state, cost, at(now));
            }
            (state, now)
        };
        let ((mine, one), (yours, other)) = (after(&mine), after(&yours));
        let mut both = mine.clone();
        rules.absorb(&mut both, &yours);
        let mut now = one.max(other);
        for (pause, cost) in pauses(&policies, &later) {
            if rules.ask(&both, cost, at(now)).is_allowed() {
                prop_assert!(rules.ask(&mine, cost, at(now)).is_allowed());
                prop_assert!(rules.ask(&yours, cost, at(now)).is_allowed());
            }
            now += pause;
        }
    }
}

#[test]
fn zero_denies_everything_and_too_much_is_never_told_to_wait() {
    for text in [
        "0/s",
        "0/s fixed",
        "0/s sliding",
        "0/s log",
        "0/s soft 0",
        "0/month",
    ] {
        let rule = Rule::new(text.parse::<Quota>().unwrap().into());
        let mut state = vec![0; rule.words()];
        for cost in [0, 1, u32::MAX] {
            let decision = rule.decide(&mut state, cost, at(START));
            assert_eq!(decision.outcome(), crate::Verdict::Deny, "{text}");
            assert_eq!((decision.retry_after(), decision.remaining()), (None, 0));
        }
        assert!(rule.is_exhausted(&state, at(START)) && rule.is_idle(&state, at(START)));
    }
    for text in [
        "5/s",
        "5/s fixed",
        "5/s sliding",
        "5/s log",
        "9/s soft 5",
        "5/month",
    ] {
        let rule = Rule::new(text.parse::<Quota>().unwrap().into());
        let mut state = vec![0; rule.words()];
        let decision = rule.decide(&mut state, 6, at(START));
        assert_eq!(decision.outcome(), crate::Verdict::TooLarge, "{text}");
        assert_eq!((decision.retry_after(), decision.remaining()), (None, 5));
        assert!(rule.decide(&mut state, 5, at(START)).is_allowed());
    }
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    for text in [
        "4294967295/3652d",
        "4294967295/3652d fixed",
        "4294967295/3652d sliding",
    ] {
        let rule = Rule::new(text.parse::<Quota>().unwrap().into());
        for now in [0, u64::MAX] {
            for word in [0, u64::MAX] {
                for cost in [0, 1, u32::MAX] {
                    let mut state = vec![word; rule.words()];
                    let _ = rule.decide(&mut state, cost, at(now));
                    let _ = rule.is_idle(&state, at(now));
                    let _ = rule.part_spent(&state, at(now));
                    rule.absorb(&mut state, &vec![7; rule.words()]);
                }
            }
        }
    }
}
