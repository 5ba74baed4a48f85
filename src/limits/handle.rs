//! The limits in force, as users and layers hold them.

#[cfg(feature = "fleet")]
use crate::decision::Policy;
use crate::error::ConfigError;
use crate::limiter::{AnyLimiter, RateLimiter};
use crate::limits::NamedLimit;
use crate::limits::change::{Change, changes};
use crate::limits::plan::Plan;
use crate::limits::table::Table;
use crate::time::Clock;
use arc_swap::{ArcSwap, Guard};
use std::fmt;
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
/// assert_eq!(api.as_local().unwrap().check(&alice, 30).remaining(), 70);
///
/// let plan = Plan::new().limit("api", Quota::per_hour(50))?.route("*", "api")?;
/// let changes = limits.change(&plan)?;
/// assert_eq!(changes[0].to_string(), "limit api: 100/h -> 50/h");
/// let api = limits.find("GET", Some("/items")).unwrap();
/// assert_eq!(api.as_local().unwrap().peek(&alice).remaining(), 20);
/// # Ok::<(), tidegate::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Limits(Arc<Shared>);

struct Shared {
    table: ArcSwap<Table>,
    make: Box<Make>,
    /// Held by whoever changes the plan.
    changing: Mutex<()>,
}

type Make = dyn Fn(&NamedLimit<'_>) -> Result<AnyLimiter, ConfigError> + Send + Sync;

impl Limits {
    /// The limits of `plan`, counted in this process.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self::on(plan, Clock::counter())
    }

    /// As [`Self::new`] on another clock, for tests and simulations.
    #[must_use]
    pub fn on(plan: &Plan, clock: Clock) -> Self {
        let local = move |limit: &NamedLimit<'_>| {
            let policies = limit.policies.into();
            Ok(RateLimiter::of_policies(policies, limit.max_keys, clock.clone()).into())
        };
        Self::made_by(plan, local).expect("a plan has what a limiter of this process needs")
    }

    /// The limits of `plan`, each counted by the limiter that `make` makes for it, now and for every plan that
    /// [`Self::change`] brings: a new one each time, on the clock of the one before.
    ///
    /// # Errors
    /// [`ConfigError::Limit`]: the name of a limit, and the error that `make` made of it, or [`ConfigError::Setting`] if
    /// two limits were given one limiter: let the routes of both lead to one limit instead.
    ///
    /// # Examples
    /// With the feature `redis`, limits that are exact over all processes:
    #[cfg_attr(feature = "redis", doc = "```")]
    #[cfg_attr(not(feature = "redis"), doc = "```ignore")]
    /// use tidegate::Quota;
    /// use tidegate::limits::{Limits, Plan};
    /// use tidegate::store::RedisStore;
    /// use tidegate::strict::{OnFailure, StrictLimiter};
    ///
    /// let plan = Plan::new().limit("api", Quota::per_hour(1000))?.route("*", "api")?;
    /// let store = RedisStore::new("redis://127.0.0.1:6379")?;
    /// let limits = Limits::made_by(&plan, move |limit| {
    ///     // Counts in the namespace "shop|api".
    ///     let strict = StrictLimiter::for_limit(store.clone(), "shop", limit);
    ///     Ok(strict.on_failure(OnFailure::local_share(4)).build()?.into())
    /// })?;
    /// # let _ = limits;
    /// # Ok::<(), tidegate::ConfigError>(())
    /// ```
    pub fn made_by(
        plan: &Plan,
        make: impl Fn(&NamedLimit<'_>) -> Result<AnyLimiter, ConfigError> + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        let mut limiters = Vec::new();
        for limit in plan.each() {
            let made = make_new(&make, &limit, limiters.iter());
            limiters.push(made.map_err(|error| limit.problem(error))?);
        }
        let table = Table::new(1, plan.clone(), limiters.into());
        Ok(Self(Arc::new(Shared {
            table: ArcSwap::from_pointee(table),
            make: Box::new(make),
            changing: Mutex::new(()),
        })))
    }

    /// Enforces `plan` from now on, and says what became different.
    ///
    /// # Guarantees
    /// * A limit that has the same name in both plans keeps its counts: each of its policies goes on with what was
    ///   counted by the same rule in the same window, whatever its limit was. A policy with another rule or window
    ///   begins anew, and so does a limit with a new name.
    /// * A limit that did not change is not touched.
    /// * Requests go on meanwhile, and each is counted once: none is lost, and none counted twice. A request for a key
    ///   whose counts are just being moved waits for them, up to 768 keys at about 100 ns each; for those of which a store
    ///   that is away is to be told, up to 16 at about 1 µs. Whoever still has a limiter of the plan before that counts in
    ///   this process asks the new one through it. One that counts in a store decides on the counts of all by the limit
    ///   that it has, as a process does that has not read the new plan yet, and what it admits while its store is away the
    ///   new one tells.
    /// * What was reserved before is given back after as [`Reservation`] says. Those who wait in line, and those who come
    ///   to wait after the change, are two lines.
    /// * Counts in a store stay where they are, and as many units stay spent: of 10 an hour, 5 of them spent, 20 an hour
    ///   leave 15, and 5 leave none. Of a token bucket what is spent beyond the new burst comes back at the pace of the limit
    ///   before, and nothing passes until it has: of 10 an hour, all spent, 5 an hour let the first one pass after 36 to 42
    ///   minutes, where a limiter of this process forgets what is beyond, and does so after 12. What was reserved of a
    ///   bucket in a store before its limit changed is not given back. While processes do not agree on a limit, they let pass no
    ///   more together than the largest burst and the fastest pace of theirs; leased ones also what was in hand when a limit
    ///   rose.
    /// * What a changed limit has let pass while its store was away, and has not told it yet, the one in its place tells it,
    ///   and its local share goes on, if both are strict, both leased or both layered and in one namespace; of layered ones,
    ///   each policy whose window stays.
    ///
    /// Takes memory for both tables of a changed limit until the move is done. A layer holds the limiters of the plan
    /// before until its next request that has a limit, or that it is dropped; those over a store keep their task and their
    /// connection as long.
    ///
    /// [`Reservation`]: crate::limiter::Reservation
    ///
    /// # Errors
    /// [`ConfigError::Limit`]: the name of a limit, and the error of whoever makes the limiters, or
    /// [`ConfigError::Setting`] if the limiter made is of this plan or of one before. Everything stays as it was then.
    /// Limits that count in this process have none.
    pub fn change(&self, plan: &Plan) -> Result<Vec<Change>, ConfigError> {
        let shared = &*self.0;
        let _alone = shared
            .changing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = shared.table.load_full();
        let changes = changes(&before.plan, plan);
        if changes.is_empty() {
            return Ok(changes);
        }
        let same_room = before.plan.max_keys == plan.max_keys;
        let mut limiters: Vec<AnyLimiter> = Vec::new();
        for limit in plan.each() {
            let known = before.limiter(limit.name);
            let same = |known: &&AnyLimiter| same_room && known.policies() == limit.policies;
            let limiter = match known.filter(same) {
                Some(known) => Ok(known.clone()),
                None => {
                    // One that stays under its name goes on.
                    let others = before.limiters.iter().chain(&limiters);
                    let others = others.filter(|it| !known.is_some_and(|known| known.is(it)));
                    make_new(&shared.make, &limit, others)
                }
            };
            limiters.push(limiter.map_err(|error| limit.problem(error))?);
        }
        for (limit, next) in plan.each().zip(&limiters) {
            if let Some(known) = before.limiter(limit.name).filter(|known| !next.is(known)) {
                next.take_over(known);
            }
        }
        let table = Table::new(before.version + 1, plan.clone(), limiters.into());
        shared.table.store(Arc::new(table));
        Ok(changes)
    }

    /// The limiter for requests with `method` to the route with the path `template`, unless they have no limit. Without
    /// a template it is that of `<unmatched>`.
    ///
    /// It belongs to the plan of this moment: ask again for every request.
    #[must_use]
    pub fn find(&self, method: &str, template: Option<&str>) -> Option<AnyLimiter> {
        let table = self.table();
        Some(table.limiters[table.find(method, template)?].clone())
    }

    /// The limiter called `name`, for its statistics.
    #[must_use]
    pub fn limiter(&self, name: &str) -> Option<AnyLimiter> {
        self.table().limiter(name).cloned()
    }

    /// A limiter for `policies`, made as those of the plan are, under a name that no limit of a plan has.
    #[cfg(feature = "fleet")]
    pub(crate) fn limiter_for(&self, policies: &[Policy]) -> Result<AnyLimiter, ConfigError> {
        let max_keys = self.table().plan.max_keys;
        (self.0.make)(&NamedLimit {
            name: "<own>",
            policies,
            max_keys,
        })
    }

    /// The plan in force.
    pub fn plan(&self) -> Plan {
        self.table().plan.clone()
    }

    pub(super) fn table(&self) -> Guard<Arc<Table>> {
        self.0.table.load()
    }
}

/// A limiter for `limit` that is none of the `others`, and not of an earlier plan: two that took over from each
/// other would ask each other for ever.
fn make_new<'a>(
    make: impl Fn(&NamedLimit<'_>) -> Result<AnyLimiter, ConfigError>,
    limit: &NamedLimit<'_>,
    mut others: impl Iterator<Item = &'a AnyLimiter>,
) -> Result<AnyLimiter, ConfigError> {
    let made = make(limit)?;
    if made.has_left() || others.any(|other| other.is(&made)) {
        return Err(ConfigError::setting(
            "a limiter",
            "that of a plan before, or of another limit",
            "make a new one for every limit of every plan",
        ));
    }
    Ok(made)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
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
        let limiter = limiter.as_local().unwrap();
        limiter.peek(&Key::EVERYONE).remaining()
    }

    #[test]
    fn a_new_plan_keeps_counts_by_name_rule_and_window() {
        let (clock, lever) = Clock::manual();
        lever.advance(Duration::from_secs(1_000_000));
        let limits = Limits::on(&plan(Quota::per_hour(10)), clock);
        for template in ["/a", "/b"] {
            let limiter = limits.find("GET", Some(template)).unwrap();
            let decision = limiter.as_local().unwrap().check(&Key::EVERYONE, 5);
            assert!(decision.is_allowed());
        }
        assert!(limits.find("GET", None).is_none());
        assert_eq!(limits.change(&plan(Quota::per_hour(10))), Ok(vec![]));
        for (quota, remaining) in [
            (Quota::per_hour(20), 15),
            (Quota::per_hour(5), 0),
            (Quota::per_hour(8), 3),
            (Quota::per_minute(8), 8),
        ] {
            assert_eq!(limits.change(&plan(quota)).unwrap().len(), 1);
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
        let changes = limits.change(&next).unwrap();
        let said: Vec<_> = changes.iter().map(Change::to_string).collect();
        let expected = [
            "limit new: none -> 1/s",
            "limit api: 10/h -> none",
            "route /b: same -> new",
            "route /a: api -> none",
            "max_keys: 100000 -> 7",
        ];
        assert_eq!(said, expected);
        assert_eq!(limits.plan(), next);
        let same = limits.limiter("same").unwrap();
        assert_eq!(same.as_local().unwrap().stats().max_keys, 7);
        assert!(limits.limiter("api").is_none());
    }

    #[test]
    fn a_plan_that_cannot_be_made_changes_nothing() {
        let quota = Quota::per_hour;
        let make = |limit: &NamedLimit<'_>| match limit.name() {
            "same" if limit.policies()[0].quota().limit() > 9 => Err(ConfigError::MaxKeys),
            _ => Ok(RateLimiter::new(*limit.policies()[0].quota()).into()),
        };
        let limits = Limits::made_by(&plan(quota(10)), make).unwrap();
        let api = limits.find("GET", Some("/a")).unwrap();
        assert!(
            api.as_local()
                .unwrap()
                .check(&Key::EVERYONE, 4)
                .is_allowed()
        );

        let wrong = Plan::new().limit("api", quota(20)).unwrap();
        let wrong = wrong.limit("same", quota(10)).unwrap();
        let error = limits.change(&wrong).unwrap_err();
        let told = error.to_string();
        assert!(told.starts_with("limit same: max_keys is 0"), "{told}");
        let first = Limits::made_by(&wrong, make);
        assert_eq!(first.unwrap_err(), error);
        assert_eq!(limits.plan(), plan(quota(10)));
        assert_eq!(left(&limits, "/a"), 6);
        // The limiters of one's own keep their counts, too.
        assert_eq!(limits.change(&plan(quota(20))).unwrap().len(), 1);
        assert_eq!(left(&limits, "/a"), 16);
    }

    #[test]
    fn a_limiter_that_was_replaced_does_not_come_again() {
        let kept = RateLimiter::new(Quota::per_hour(10));
        let again = kept.clone();
        let make = move |limit: &NamedLimit<'_>| match limit.policies()[0].quota().limit() {
            10 => Ok(again.clone().into()),
            limit => Ok(RateLimiter::new(Quota::per_hour(limit)).into()),
        };
        let limits = Limits::made_by(&plan(Quota::per_hour(10)), make).unwrap();
        assert!(limits.change(&plan(Quota::per_hour(20))).is_ok());
        let error = limits.change(&plan(Quota::per_hour(10))).unwrap_err();
        let told = error.to_string();
        assert!(told.starts_with("limit api: "), "{told}");
        assert!(
            told.ends_with("make a new one for every limit of every plan"),
            "{told}"
        );
        assert_eq!(limits.plan(), plan(Quota::per_hour(20)));
    }

    #[test]
    fn limiters_do_not_change_their_names_and_have_one_each() {
        let local = |quota| AnyLimiter::from(RateLimiter::new(quota));
        let (ten, nine) = (Quota::per_hour(10), Quota::per_hour(9));
        let kept = [local(ten), local(nine)];
        let make = move |limit: &NamedLimit<'_>| {
            let policies =
                |kept: &&AnyLimiter| kept.policies()[0].quota() == limit.policies()[0].quota();
            let kept = kept.iter().find(policies);
            Ok(kept.map_or_else(|| local(*limit.policies()[0].quota()), Clone::clone))
        };
        let two = |a, b| Plan::new().limit("a", a).unwrap().limit("b", b).unwrap();
        let told = |error: ConfigError| error.to_string();
        let limits = Limits::made_by(&two(ten, nine), make.clone()).unwrap();
        for (a, b) in [
            (nine, ten),
            (Quota::per_hour(8), ten),
            (nine, Quota::per_hour(8)),
        ] {
            let error = told(limits.change(&two(a, b)).unwrap_err());
            assert!(
                error.ends_with("make a new one for every limit of every plan"),
                "{error}"
            );
        }
        assert!(limits.change(&two(ten, Quota::per_hour(8))).is_ok());
        let shared = told(Limits::made_by(&two(ten, ten), make).unwrap_err());
        assert!(shared.starts_with("limit b: "), "{shared}");
    }

    /// Each would leave everything to the other one.
    #[cfg(feature = "redis")]
    #[test]
    fn neither_does_one_that_counts_in_a_store() {
        use crate::leased::LeasedLimiter;
        use crate::store::RedisStore;
        use crate::strict::StrictLimiter;

        type Make = fn(RedisStore, &NamedLimit<'_>) -> Result<AnyLimiter, ConfigError>;
        let strict: Make =
            |store, limit| Ok(StrictLimiter::for_limit(store, "a", limit).build()?.into());
        let leased: Make =
            |store, limit| Ok(LeasedLimiter::for_limit(store, "a", limit).build()?.into());
        for make in [strict, leased] {
            let store = RedisStore::new("redis://127.0.0.1:1").unwrap();
            let made = Mutex::new(Vec::<AnyLimiter>::new());
            let make = move |limit: &NamedLimit<'_>| {
                let mut made = made.lock().unwrap();
                let known = made.iter().find(|it| it.policies() == limit.policies());
                if let Some(known) = known {
                    return Ok(known.clone());
                }
                made.push(make(store.clone(), limit)?);
                Ok(made[made.len() - 1].clone())
            };
            let limits = Limits::made_by(&plan(Quota::per_hour(10)), make).unwrap();
            assert!(limits.change(&plan(Quota::per_hour(20))).is_ok());
            let error = limits.change(&plan(Quota::per_hour(10))).unwrap_err();
            assert!(
                error
                    .to_string()
                    .ends_with("make a new one for every limit of every plan")
            );
            assert_eq!(limits.plan(), plan(Quota::per_hour(20)));
        }
    }

    #[test]
    fn whoever_has_a_limiter_of_an_older_plan_counts_where_all_do() {
        let limits = Limits::new(&plan(Quota::per_day(10).fixed()));
        let (alice, mut held) = (Key::of("alice"), Vec::new());
        for limit in [20, 30, 40] {
            held.push(limits.find("GET", Some("/a")).unwrap());
            let next = plan(Quota::per_day(limit).fixed());
            assert_eq!(limits.change(&next).unwrap().len(), 1);
        }
        for key in [alice, Key::EVERYONE] {
            for (at, limiter) in held.iter().enumerate() {
                let decision = limiter.as_local().unwrap().check(&key, 1);
                assert_eq!(
                    (decision.limit(), decision.remaining()),
                    (40, 39 - at as u32)
                );
            }
        }
        assert_eq!(left(&limits, "/a"), 37);
    }
}
