//! The limits in force, as users and layers hold them.

use crate::limiter::RateLimiter;
use crate::limits::change::{Change, changes};
use crate::limits::plan::Plan;
use crate::limits::table::Table;
use crate::time::Clock;
use arc_swap::{ArcSwap, Guard};
use std::sync::{Arc, Mutex, PoisonError};

/// Limits by route that can be exchanged while requests run.
///
/// Cheap to clone; clones share the limits and their counts.
///
/// # Examples
/// ```
/// use tidegate::limits::{Limits, Plan};
/// use tidegate::{Key, Quota};
///
/// let plan = Plan::new().limit("api", Quota::per_hour(100))?.route("*", "api")?;
/// let limits = Limits::new(&plan);
/// let alice = Key::of("alice");
/// let api = limits.find("GET", Some("/items")).unwrap();
/// assert_eq!(api.check(&alice, 30).remaining(), 70);
///
/// let plan = Plan::new().limit("api", Quota::per_hour(50))?.route("*", "api")?;
/// let changes = limits.change(&plan);
/// assert_eq!(changes[0].to_string(), "limit api: 100/h -> 50/h");
/// let api = limits.find("GET", Some("/items")).unwrap();
/// assert_eq!(api.peek(&alice).remaining(), 20);
/// # Ok::<(), tidegate::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Limits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: ArcSwap<Table>,
    clock: Clock,
    /// Held by whoever changes the plan.
    changing: Mutex<()>,
}

impl Limits {
    /// The limits of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self::on(plan, Clock::system())
    }

    /// As [`Self::new`] on another clock, for tests and simulations.
    #[must_use]
    pub fn on(plan: &Plan, clock: Clock) -> Self {
        let table = Table::new(1, plan.clone(), |name| fresh(plan, name, &clock));
        Self(Arc::new(Shared {
            table: ArcSwap::from_pointee(table),
            clock,
            changing: Mutex::new(()),
        }))
    }

    /// Enforces `plan` from now on, and says what became different.
    ///
    /// # Guarantees
    /// * A limit that has the same name in both plans keeps its counts: each of its policies goes on with what was
    ///   counted by the same rule in the same window, whatever its limit was. A policy with another rule or window
    ///   begins anew, and so does a limit with a new name.
    /// * A limit that did not change is not touched.
    /// * Requests go on meanwhile. One that passes while the counts of a changed limit are copied, which takes about
    ///   100 ns a key, may be missing in the copy; and what a request reserved before is not given back after.
    ///
    /// Takes memory for both tables of a changed limit until the copy is done. Blocks the caller alone.
    pub fn change(&self, plan: &Plan) -> Vec<Change> {
        let shared = &*self.0;
        let _alone = shared
            .changing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = shared.table.load_full();
        let changes = changes(&before.plan, plan);
        if changes.is_empty() {
            return changes;
        }
        let same_room = before.plan.max_keys == plan.max_keys;
        let table = Table::new(before.version + 1, plan.clone(), |name| {
            let policies = &plan.limits[name];
            match before.limiter(name) {
                Some(known) if same_room && *known.policies() == **policies => known.clone(),
                Some(known) => known.with_policies(policies.clone(), plan.max_keys),
                None => fresh(plan, name, &shared.clock),
            }
        });
        shared.table.store(Arc::new(table));
        changes
    }

    /// The limiter for requests with `method` to the route with the path `template`, unless they have no limit. Without
    /// a template it is that of `<unmatched>`.
    ///
    /// It belongs to the plan of this moment: ask again for every request.
    #[must_use]
    pub fn find(&self, method: &str, template: Option<&str>) -> Option<RateLimiter> {
        let table = self.table();
        Some(table.limiters[table.find(method, template)?].clone())
    }

    /// The limiter called `name`, for its statistics.
    #[must_use]
    pub fn limiter(&self, name: &str) -> Option<RateLimiter> {
        self.table().limiter(name).cloned()
    }

    /// The plan in force.
    pub fn plan(&self) -> Plan {
        self.table().plan.clone()
    }

    pub(super) fn table(&self) -> Guard<Arc<Table>> {
        self.0.table.load()
    }
}

fn fresh(plan: &Plan, name: &str, clock: &Clock) -> RateLimiter {
    RateLimiter::of_policies(plan.limits[name].clone(), plan.max_keys, clock.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::quota::Quota;
    use std::time::Duration;

    fn plan(api: Quota) -> Plan {
        let plan = Plan::new().limit("api", api).unwrap();
        let plan = plan.limit("same", Quota::per_hour(9)).unwrap();
        let plan = plan.route("/a", "api").unwrap();
        plan.route("/b", "same").unwrap()
    }

    fn left(limits: &Limits, template: &str) -> u32 {
        let limiter = limits.find("GET", Some(template)).unwrap();
        limiter.peek(&Key::EVERYONE).remaining()
    }

    #[test]
    fn a_new_plan_keeps_counts_by_name_rule_and_window() {
        let (clock, lever) = Clock::manual();
        lever.advance(Duration::from_secs(1_000_000));
        let limits = Limits::on(&plan(Quota::per_hour(10)), clock);
        for template in ["/a", "/b"] {
            let limiter = limits.find("GET", Some(template)).unwrap();
            assert!(limiter.check(&Key::EVERYONE, 5).is_allowed());
        }
        assert!(limits.find("GET", None).is_none());
        assert_eq!(limits.change(&plan(Quota::per_hour(10))), []);
        for (quota, remaining) in [
            (Quota::per_hour(20), 15),
            (Quota::per_hour(5), 0),
            (Quota::per_hour(8), 3),
            (Quota::per_minute(8), 8),
        ] {
            assert_eq!(limits.change(&plan(quota)).len(), 1);
            assert_eq!(left(&limits, "/a"), remaining, "{quota}");
            assert_eq!(left(&limits, "/b"), 4);
        }
    }

    #[test]
    fn all_that_differs_is_said() {
        let limits = Limits::new(&plan(Quota::per_hour(10)));
        let next = Plan::new().limit("same", Quota::per_hour(9)).unwrap();
        let next = next.limit("new", Quota::per_second(1)).unwrap();
        let next = next.route("/b", "new").unwrap().max_keys(7).unwrap();
        let said: Vec<_> = limits.change(&next).iter().map(Change::to_string).collect();
        let expected = [
            "limit new: none -> 1/s",
            "limit api: 10/h -> none",
            "route /b: same -> new",
            "route /a: api -> none",
            "max_keys: 100000 -> 7",
        ];
        assert_eq!(said, expected);
        assert_eq!(limits.plan(), next);
        assert_eq!(limits.limiter("same").unwrap().stats().max_keys, 7);
        assert!(limits.limiter("api").is_none());
    }
}
