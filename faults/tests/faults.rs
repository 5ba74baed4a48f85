//! What is promised of real faults: no more in flight at the backend than the bound, while they last and after, and
//! everybody has a share again.

use std::time::Duration;
use tidegate_faults::{Fault, Policy, Scale, Seen, Setup, drill, follow};

/// `None` without Redis.
fn holds(fault: Fault, policy: Policy) -> Option<Seen> {
    holds_at(fault, policy, &Scale::short())
}

fn holds_at(fault: Fault, policy: Policy, scale: &Scale) -> Option<Seen> {
    if let Some(missing) = fault.lacks() {
        missing.skip();
        return None;
    }
    let seen = drill(fault, policy, scale, |_| {})?;
    assert!(seen.most <= seen.bound, "over-admission: {seen:?}");
    assert!(seen.shared, "not shared again: {seen:?}");
    Some(seen)
}

macro_rules! drills {
    ($($name:ident: $fault:ident under $($policy:ident),+;)+) => {
        $(#[test]
        fn $name() {
            $(holds(Fault::$fault, Policy::$policy);)+
        })+
    };
}

drills! {
    i9_a_store_killed_and_restarted_empty: StoreRestarted under FailClosed;
    i9_a_store_flushed: Flushed under FailClosed;
    i9_scripts_flushed: ScriptsFlushed under FailClosed;
    i9_a_replica_promoted_without_the_last_writes: Promoted under FailClosed;
    i9_a_deposed_master_that_goes_on_is_a_second_store: Deposed under FailClosed;
    i9_a_deposed_master_that_takes_no_writes_is_none: DeposedReadOnly under FailClosed;
    i9_a_deposed_master_that_goes_on_within_the_drain_is_none: DeposedForAWhile under FailClosed;
    i10_a_gateway_stopped_for_a_lease: StoppedOnce under FailClosed;
    i10_a_gateway_stopped_for_five_leases: StoppedFive under FailClosed;
    i10_a_gateway_killed: Killed under FailClosed;
    i11_answers_300_ms_late: Slow300Ms under FailClosed;
    i11_answers_two_seconds_late: Slow2S under FailClosed;
    i11_connections_reset: Resets under FailClosed;
    i11_a_clock_put_forward_by_an_hour: ClockAhead under FailClosed;
    i11_a_clock_put_back_by_an_hour: ClockBehind under SafeShare;
    i11_one_gateway_cut_off: Partition under FailClosed, SafeShare;
    i11_one_gateway_unheard: HalfOpen under FailClosed;
}

#[test]
fn without_a_store_a_fleet_does_what_its_policy_says_and_no_more() {
    for policy in Policy::ALL {
        let Some(seen) = holds(Fault::StoreAway, policy) else {
            return;
        };
        assert_eq!(seen.late > 0, policy.goes_on(), "{seen:?}");
    }
}

#[test]
fn i9_a_store_away_and_then_empty() {
    holds(Fault::StoreLost, Policy::SafeShare);
    holds(Fault::StoreLost, Policy::Frozen);
}

/// How well they follow is measured, by `scripts/measure --eight`; here it is what they may not do on any machine.
#[test]
fn i3_gateways_told_nothing_never_exceed_the_limit_they_found_themselves() {
    let Some(seen) = follow(&Setup::short(), |_| {}) else {
        return;
    };
    assert!(seen.kept(), "over-admission: {seen:?}");
    assert!(
        seen.looking.limits.0 != seen.looking.limits.1,
        "nobody looked for it"
    );
    for phase in &seen.phases {
        assert!(
            !phase.told.served.is_empty(),
            "{} served nothing",
            phase.name
        );
    }
}

/// What is in flight is held against the limit that the store has committed, as it moves.
#[test]
fn i3_a_limit_that_moves_is_kept_through_faults() {
    let scale = Scale::short().told_nothing(Duration::from_secs(2));
    for (fault, policy) in [
        (Fault::StoreAway, Policy::SafeShare),
        (Fault::Flushed, Policy::FailClosed),
        (Fault::Partition, Policy::FailClosed),
        (Fault::Promoted, Policy::FailClosed),
    ] {
        let Some(seen) = holds_at(fault, policy, &scale) else {
            return;
        };
        assert!(seen.limits.0 > 0, "no limit was committed: {seen:?}");
    }
}
