//! Limiters for quotas that clients have to themselves: one for each different quota, in which each client has a count.

use crate::decision::{Policy, PolicyName};
use crate::error::ConfigError;
use crate::limiter::AnyLimiter;
use crate::limits::Limits;
use crate::quota::Quota;
use crate::time::LocalTime;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A limiter for one quota.
#[derive(Debug)]
pub(super) struct Own {
    /// No other has the same, ever.
    pub(super) id: u64,
    pub(super) limiter: AnyLimiter,
    /// In nanoseconds.
    used: AtomicU64,
}

/// All of them, at most so many.
#[derive(Debug)]
pub(super) struct Owns {
    name: PolicyName,
    most: usize,
    each: Mutex<HashMap<Quota, Arc<Own>>>,
    made: AtomicU64,
}

/// Why a client cannot have its quota.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoOwn {
    #[error(
        "more different quotas than the {most} that there may be; raise `TiersBuilder::quotas`"
    )]
    TooMany { most: usize },
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Own {
    /// A request is about to count here.
    #[inline]
    pub(super) fn note_use(&self, now: LocalTime) {
        self.used.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Whether all that was spent has come back, for nobody has come for so long.
    fn is_idle(&self, now: LocalTime) -> bool {
        let used = LocalTime::from_nanos(self.used.load(Ordering::Relaxed));
        now.since(used) > memory(self.limiter.policy().quota())
    }
}

impl Owns {
    pub(super) fn new(name: PolicyName, most: usize) -> Self {
        Self {
            name,
            most,
            each: Mutex::default(),
            made: AtomicU64::new(0),
        }
    }

    /// The limiter for `quota`, which is made if need be.
    pub(super) fn of(
        &self,
        quota: Quota,
        limits: &Limits,
        now: LocalTime,
    ) -> Result<Arc<Own>, NoOwn> {
        let mut each = self.lock();
        if let Some(own) = each.get(&quota) {
            own.note_use(now);
            return Ok(Arc::clone(own));
        }
        if each.len() >= self.most {
            // Nobody's answer leads to those that go, and nobody has a count there.
            each.retain(|_, own| Arc::strong_count(own) > 1 || !own.is_idle(now));
        }
        if each.len() >= self.most {
            return Err(NoOwn::TooMany { most: self.most });
        }
        let own = Arc::new(Own {
            id: self.made.fetch_add(1, Ordering::Relaxed),
            limiter: limits.limiter_for(&[Policy::new(self.name, quota)])?,
            used: AtomicU64::new(now.as_nanos()),
        });
        each.insert(quota, Arc::clone(&own));
        Ok(own)
    }

    /// The numbers of those that are still here.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.lock().values().map(|own| own.id).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Quota, Arc<Own>>> {
        self.each.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After so long without a request everything has come back, whatever was spent: two windows, or the time in which a
/// burst refills. A calendar's window is its longest period.
fn memory(quota: &Quota) -> Duration {
    let window = quota.window();
    let burst = f64::from(quota.burst_size()) / f64::from(quota.limit().max(1));
    window.saturating_mul(2).max(window.mul_f64(2.0 * burst))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Plan;

    #[test]
    fn limiters_that_nobody_needs_make_room_for_others() {
        let limits = Limits::new(&Plan::new());
        let owns = Owns::new(PolicyName::DEFAULT, 2);
        let at = |seconds: u64| LocalTime::from_nanos(seconds * 1_000_000_000);
        let of = |limit, now| owns.of(Quota::per_second(limit), &limits, at(now));
        let first = of(1, 100).unwrap();
        assert_eq!(of(1, 100).unwrap().id, first.id);
        let second = of(2, 100).unwrap();
        assert!(
            matches!(of(3, 200), Err(NoOwn::TooMany { most: 2 })),
            "both are held"
        );
        drop(second);
        assert!(
            matches!(of(3, 102), Err(NoOwn::TooMany { .. })),
            "the second has counts"
        );
        let third = of(3, 103).unwrap();
        assert_ne!(third.id, first.id);
        assert_eq!(owns.len(), 2);
        assert_eq!(of(1, 103).unwrap().id, first.id);
    }

    #[test]
    fn nothing_is_remembered_longer_than_it_takes_to_come_back() {
        let seconds = |text: &str| memory(&text.parse().unwrap()).as_secs();
        assert_eq!(seconds("10/s"), 2);
        assert_eq!(seconds("1/s burst 60"), 120);
        assert_eq!(seconds("0/s"), 2);
        assert!(seconds("9/month") >= 2 * 30 * 86_400);
    }
}
