//! One fault, once: what was in flight at the backend through all of it, and what was served.

use crate::clock::{eventually, now, pause};
use crate::fault::Fault;
use crate::fleet::Fleet;
use crate::policy::Policy;
use crate::scale::Scale;
use std::time::Duration;
use tidegate_test_support::PATIENCE;

/// What a drill has seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The fault.
    pub fault: Fault,
    /// The policy under which it happened.
    pub policy: Policy,
    /// The fleet's limit.
    pub limit: usize,
    /// The most that may be in flight at the backend.
    pub bound: usize,
    /// The most that was, from the first request to the last.
    pub most: usize,
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
    let begun = fleet.load.age();
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
    let seen = Seen {
        fault,
        policy,
        limit: scale.limit,
        bound: fault.bound(policy, scale),
        // Of what is still under way, too.
        most: fleet
            .backend
            .wait_until(PATIENCE, |stats| stats.begun > begun_by_then)
            .max_in_flight,
        before,
        during: fleet.load.goodput(struck, healed),
        after: fleet.load.goodput(steady, end),
        late,
        recovered: recovered.map(|from| from - healed),
        shared,
    };
    Some(seen)
}
