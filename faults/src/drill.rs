//! One fault, once: what was in flight at the backend through all of it, and what was served.

use crate::clock::{eventually, now, pause};
use crate::fault::Fault;
use crate::fleet::Fleet;
use crate::policy::Policy;
use crate::scale::{Estimate, Scale};
use std::time::{Duration, Instant};
use tidegate_test_support::PATIENCE;

/// What a drill has seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The fault.
    pub fault: Fault,
    /// The policy under which it happened.
    pub policy: Policy,
    /// The fleet's limit: the largest that held lately when `most` was in flight.
    pub limit: usize,
    /// The most that may be in flight at the backend then.
    pub bound: usize,
    /// The most that was in flight at once, from the first request to the last; of a limit that moves, where it came
    /// closest to what may be.
    pub most: usize,
    /// The lowest and the highest limit since what is measured began.
    pub limits: (usize, usize),
    /// Requests served a second before.
    pub before: f64,
    /// While it lasted.
    pub during: f64,
    /// When it had recovered.
    pub after: f64,
    /// Requests that reached the backend in the last third of it: whatever was admitted under a lease from before has
    /// ended by then.
    pub late: u64,
    /// How long after its end as much was served as nine tenths of before.
    pub recovered: Option<Duration>,
    /// Whether the whole limit was shared by all in the end.
    pub shared: bool,
}

/// The window in which it is judged whether as much is served as before.
const WINDOW: Duration = Duration::from_secs(1);
const TENTH: Duration = Duration::from_millis(100);

/// Runs one. `say` is told where it is. `None` without Redis.
///
/// # Panics
/// If what is needed for it does not start.
#[must_use]
pub fn drill(
    fault: Fault,
    policy: Policy,
    scale: &Scale,
    mut say: impl FnMut(&str),
) -> Option<Seen> {
    say("starts");
    let scale = &fault.settings(scale);
    let mut fleet = Fleet::start(policy, fault.store(), scale)?;
    if !scale.looking.is_zero() {
        say("looks for its limit");
        pause(scale.looking);
    }
    let (begun, measured) = (fleet.load.age(), now());
    say("before");
    pause(scale.before.max(TENTH));
    let struck = fleet.load.age();

    fault.begin(&mut fleet, scale);
    let (started, mut third) = (now(), None);
    while let Some(left) = fault.lasts(scale).checked_sub(started.elapsed()) {
        if left * 3 <= fault.lasts(scale) {
            third.get_or_insert_with(|| fleet.backend.stats().begun);
        }
        fault.go_on(&fleet);
        say(&format!("lasts {:.0} s more", left.as_secs_f64()));
        pause(left.min(TENTH));
    }
    let begun_by_then = fleet.backend.stats().begun;
    let late = begun_by_then - third.unwrap_or(begun_by_then);
    let healed = fleet.load.age();
    fault.end(&mut fleet);

    say("recovers");
    let shared = fleet.wait_until_shared();
    pause(scale.after);
    let before = fleet.load.goodput(begun, struck);
    let enough = |from| fleet.load.goodput(from, from + WINDOW) >= 0.9 * before;
    let mut recovered = None;
    eventually(scale.after, || {
        let last = fleet.load.age().saturating_sub(WINDOW);
        recovered = (0u32..)
            .map(|tenths| healed + TENTH * tenths)
            .take_while(|from| *from <= last)
            .find(|from| enough(*from));
        recovered.is_some()
    });
    let end = fleet.load.age();
    let steady = recovered.unwrap_or(healed);
    // Of what is still under way, too.
    let backend = &fleet.backend;
    backend.wait_until(PATIENCE, |stats| stats.begun > begun_by_then);
    let closest = closest(fault, policy, scale, &fleet, measured);
    Some(Seen {
        fault,
        policy,
        limit: closest.limit,
        bound: closest.bound,
        most: closest.most,
        limits: fleet.committed.range(measured),
        before,
        during: fleet.load.goodput(struck, healed),
        after: fleet.load.goodput(steady, end),
        late,
        recovered: recovered.map(|from| from - healed),
        shared,
    })
}

/// A tenth of a second, and what was and might be in flight in it.
#[derive(Clone, Copy, Debug)]
struct Peak {
    /// Whether it was measured, and not only seen.
    counts: bool,
    most: usize,
    bound: usize,
    limit: usize,
}

/// The peak that went furthest beyond its bound; if none did, that since `measured` which came closest.
fn closest(fault: Fault, policy: Policy, scale: &Scale, fleet: &Fleet, measured: Instant) -> Peak {
    let peak = |(since, most): (Instant, usize)| {
        let largest = |memory| match scale.estimate {
            Estimate::Fixed if fault.makes_two_stores() => 2 * scale.limit,
            Estimate::Fixed => scale.limit,
            Estimate::Fleet if fault.makes_two_stores() => {
                fleet.committed.bound_of_all(since, memory)
            }
            Estimate::Fleet => fleet.committed.bound(since, memory),
        };
        Peak {
            counts: since >= measured,
            most,
            bound: policy.bound(scale, largest),
            limit: match scale.estimate {
                Estimate::Fixed => scale.limit,
                Estimate::Fleet => largest(policy.memory(scale)),
            },
        }
    };
    let peaks = fleet.backend.peaks().into_iter().map(peak);
    let beyond = |peak: &Peak| peak.most as isize - peak.bound as isize;
    peaks
        .filter(|peak| peak.counts || peak.most > peak.bound)
        .max_by_key(|peak| (beyond(peak), peak.most))
        .expect("the backend was filled")
}
