//! What a layer made of each limit, made anew when there is another plan.

use crate::limiter::AnyLimiter;
use crate::limits::Limits;
use crate::limits::table::Table;
use arc_swap::ArcSwap;
use std::fmt;
use std::sync::Arc;

/// A value for each limit, such as the headers that tell of it: made once a plan, not once a request.
// For adapters alone: it may change in any release.
#[doc(hidden)]
pub struct Seen<T> {
    limits: Limits,
    made: ArcSwap<Made<T>>,
}

struct Made<T> {
    /// Of the plan that it was made for; 0 before the first.
    version: u64,
    each: Box<[T]>,
}

impl<T: Clone> Seen<T> {
    /// Nothing made yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let none = Made {
            version: 0,
            each: Box::default(),
        };
        Self {
            limits,
            made: ArcSwap::from_pointee(none),
        }
    }

    /// The value for the limit of a request, unless it has none. For another plan than last time `make` makes all
    /// values anew.
    #[inline]
    pub fn find(
        &self,
        method: &str,
        template: Option<&str>,
        make: impl Fn(&AnyLimiter) -> T,
    ) -> Option<T> {
        let table = self.limits.table();
        Some(self.at(&table, table.find(method, template)?, make))
    }

    /// The value for the limit called `name`, unless the plan has none.
    #[cfg(feature = "fleet")]
    #[inline]
    pub(crate) fn named(&self, name: &str, make: impl Fn(&AnyLimiter) -> T) -> Option<T> {
        let table = self.limits.table();
        Some(self.at(&table, table.place(name)?, make))
    }

    #[inline]
    fn at(&self, table: &Table, place: usize, make: impl Fn(&AnyLimiter) -> T) -> T {
        let made = self.made.load();
        if made.version == table.version {
            return made.each[place].clone();
        }
        let each: Box<[T]> = table.limiters.iter().map(make).collect();
        let found = each[place].clone();
        // A thread that is late with an older plan makes the next request make the newer ones again, and no harm.
        self.made.store(Arc::new(Made {
            version: table.version,
            each,
        }));
        found
    }
}

impl<T: Clone> Clone for Seen<T> {
    /// With nothing made: the clone may make other values.
    fn clone(&self) -> Self {
        Self::new(self.limits.clone())
    }
}

impl<T> fmt::Debug for Seen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seen").field(&self.limits).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Plan;
    use crate::quota::Quota;
    use std::cell::Cell;

    #[test]
    fn values_are_made_once_a_plan() {
        let plan = |limit| {
            let plan = Plan::new().limit("a", Quota::per_second(limit)).unwrap();
            plan.route("/a", "a").unwrap()
        };
        let limits = Limits::new(&plan(1));
        let seen = Seen::new(limits.clone());
        let times = Cell::new(0);
        let find = |template| {
            seen.find("GET", Some(template), |limiter| {
                times.set(times.get() + 1);
                limiter.policy().quota().limit()
            })
        };
        assert_eq!((find("/b"), times.get()), (None, 0));
        assert_eq!((find("/a"), find("/a"), times.get()), (Some(1), Some(1), 1));
        limits.change(&plan(2)).unwrap();
        assert_eq!((find("/a"), find("/a"), times.get()), (Some(2), Some(2), 2));
    }
}
