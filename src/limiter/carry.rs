//! A limiter with other policies that goes on with the counts of one before it.

#[cfg(feature = "fleet")]
use crate::key::Key;
use crate::limiter::RateLimiter;
use crate::limiter::shard::Handed;
use crate::rule::{Carry, Moment};
use std::sync::atomic::Ordering;

/// The limiter that has taken over, and what states of the one before are there.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) limiter: RateLimiter,
    pub(super) carry: Carry,
}

impl RateLimiter {
    /// Goes on with the counts of the limiter before this one, which has to be on the same clock, as
    /// [`Limits::change`] promises. From then on that one hands everything on to this one.
    ///
    /// Nothing is lost and nothing counted twice while requests go on: everyone's cell is exchanged for a sign that it has
    /// moved, and whoever sees that waits until it has arrived; the keys of a shard move under its lock, so whoever is
    /// decided on after that finds nothing there, and asks here.
    ///
    /// [`Limits::change`]: crate::limits::Limits::change
    pub(crate) fn take_over(&self, before: &Self) {
        if before.0.leaving.swap(true, Ordering::AcqRel) {
            return;
        }
        let (inner, next) = (&*before.0, &*self.0);
        let (old, new) = (&inner.local, &next.local);
        let carry = Carry::new(&inner.policies, &next.policies);
        let now = || Moment::at(inner.clock.now()).on(inner.clock.wall());
        let mut state = vec![0; new.words()];

        // First, so that nothing is given back here unknown to those who have booked there.
        next.refunds.take_over(&inner.refunds);
        let everyone = old.hand_over_everyone();
        carry.carry(&everyone, &mut state, now());
        new.set_everyone(&state);
        let successor = Successor {
            limiter: self.clone(),
            carry: carry.clone(),
        };
        inner
            .successor
            .set(successor)
            .expect("who takes over first is the only one");
        old.hand_over(|handed| {
            // Read under the shard's lock: nothing there is newer.
            let at = now();
            match handed {
                Handed::Overflow(spent) => {
                    carry.carry(spent, &mut state, at);
                    if state.iter().any(|word| *word != 0) {
                        new.raise_overflow(&state);
                    }
                }
                Handed::Key(key, before) => {
                    carry.carry(before, &mut state, at);
                    new.put(key, &state, at);
                }
            }
        });
    }

    /// Whether another limiter has taken over.
    pub(super) fn has_left(&self) -> bool {
        self.0.leaving.load(Ordering::Acquire)
    }

    /// As [`Self::take_over`], of one key alone. What is decided on it at this moment may be missing.
    #[cfg(feature = "fleet")]
    pub(super) fn take_over_key(&self, before: &Self, key: Key) {
        let (inner, next) = (&*before.0, &*self.0);
        let at = Moment::at(inner.clock.now()).on(inner.clock.wall());
        let mut state = vec![0; next.local.words()];
        let carry = Carry::new(&inner.policies, &next.policies);
        let Some(known) = inner.local.state(key) else {
            return;
        };
        carry.carry(&known, &mut state, at);
        if key == Key::EVERYONE {
            next.local.set_everyone(&state);
        } else {
            next.local.put(key, &state, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Policy;
    use crate::key::Key;
    use crate::quota::Quota;
    use crate::time::{Clock, ManualClock};
    use std::num::NonZeroUsize;
    use std::time::Duration;

    fn limiter(quota: Quota, max_keys: usize) -> (RateLimiter, ManualClock) {
        let (clock, lever) = Clock::manual();
        lever.advance(Duration::from_secs(1_000_000));
        let builder = RateLimiter::builder(quota).max_keys(max_keys);
        (builder.clock(clock).build().unwrap(), lever)
    }

    fn then(limiter: &RateLimiter, quotas: &[Quota]) -> RateLimiter {
        let policies = quotas.iter().map(|quota| Policy::from(*quota)).collect();
        let max_keys = NonZeroUsize::new(limiter.stats().max_keys).unwrap();
        let clock = limiter.0.clock.clone();
        let next = RateLimiter::of_policies(policies, max_keys, clock);
        next.take_over(limiter);
        next
    }

    #[test]
    fn every_key_goes_on_with_its_count_and_on_the_same_clock() {
        let bucket = Quota::per_minute(100);
        for (from, to) in [
            (vec![bucket], vec![Quota::per_minute(200)]),
            (
                vec![bucket],
                vec![Quota::per_hour(500), Quota::per_minute(200)],
            ),
            (
                vec![bucket.sliding()],
                vec![Quota::per_minute(200).sliding()],
            ),
        ] {
            let (limiter, lever) = limiter(from[0], 10_000);
            let keys: Vec<_> = (0..1000u32).map(|number| Key::of(&number)).collect();
            for (number, key) in keys.iter().chain([&Key::EVERYONE]).enumerate() {
                assert!(limiter.check(key, number as u32 % 100 + 1).is_allowed());
            }
            let next = then(&limiter, &to);
            for (number, key) in keys.iter().chain([&Key::EVERYONE]).enumerate() {
                let left = next.peek_each(key).each().last().unwrap().remaining();
                assert_eq!(left, 200 - (number as u32 % 100 + 1));
            }
            lever.advance(Duration::from_secs(3600));
            assert_eq!(next.peek(&keys[99]).remaining(), 200);
            assert_eq!(next.peek(&Key::of("new")).remaining(), 200);
        }
    }

    #[test]
    fn what_keys_without_a_cell_have_spent_is_not_forgotten() {
        let (limiter, _lever) = limiter(Quota::per_hour(10), 2);
        for number in 0..50u32 {
            let _ = limiter.check(&Key::of(&number), 10);
        }
        let new = Key::of("new");
        let before = limiter.peek(&new).remaining();
        assert_eq!(before, 0, "all room is taken by keys that are being denied");
        let next = then(&limiter, &[Quota::per_hour(15)]);
        assert_eq!(next.peek(&new).remaining(), 5);
        for number in 0..50u32 {
            assert!(!next.check(&Key::of(&number), 6).is_allowed());
        }
    }

    #[test]
    fn what_was_reserved_without_a_cell_stays_when_another_takes_over() {
        for (from, to) in [
            (Quota::per_hour(10), Quota::per_hour(10)),
            (Quota::per_hour(10).fixed(), Quota::per_hour(20).fixed()),
        ] {
            let (limiter, _lever) = limiter(from, 1);
            let [full, alice] = ["full", "alice"].map(Key::of);
            assert!(limiter.check(&full, 10).is_allowed());
            let reservation = limiter.reserve(&alice, 4).unwrap();
            let next = then(&limiter, &[to]);
            let left = next.peek(&alice).remaining();
            assert_eq!(left, to.limit() - 4);
            reservation.cancel();
            assert_eq!(next.peek(&alice).remaining(), left);
        }
    }

    /// What is taken back at the rates of what it was booked by, at most.
    #[test]
    fn what_was_reserved_before_is_given_back_after_where_it_can_be_known() {
        let hour = Quota::per_hour;
        let month = Quota::calendar(10, crate::quota::Calendar::MONTH);
        for (from, to, left) in [
            (vec![hour(10).fixed()], vec![hour(20).fixed()], 18),
            (vec![hour(10).fixed()], vec![hour(8).fixed()], 6),
            (vec![hour(10).sliding()], vec![hour(8).soft(8)], 6),
            (
                vec![month],
                vec![Quota::calendar(5, crate::quota::Calendar::MONTH)],
                3,
            ),
            (
                vec![hour(10).sliding_log()],
                vec![hour(11).sliding_log()],
                9,
            ),
            (vec![hour(10)], vec![hour(10), hour(50).fixed()], 8),
            (vec![hour(10), hour(10).fixed()], vec![hour(10)], 8),
            // Nobody knows what was cut off.
            (vec![hour(10)], vec![hour(20)], 13),
            (vec![hour(10)], vec![hour(5)], 0),
            (vec![hour(10).sliding_log()], vec![hour(8).sliding_log()], 1),
            // It does not count here.
            (vec![hour(10).fixed()], vec![hour(10)], 10),
        ] {
            for key in [Key::of("alice"), Key::EVERYONE] {
                let (clock, lever) = Clock::manual();
                lever.advance(Duration::from_secs(1_000_000));
                let of = |quotas: &[Quota]| {
                    let named = |(at, quota): (usize, &Quota)| {
                        let name = crate::decision::PolicyName::new(&format!("p{at}"));
                        Policy::new(name.unwrap(), *quota)
                    };
                    let policies = quotas.iter().enumerate().map(named).collect();
                    let room = NonZeroUsize::new(100).unwrap();
                    RateLimiter::of_policies(policies, room, clock.clone())
                };
                let limiter = of(&from);
                let _ = limiter.check(&key, 2);
                let reservation = limiter.reserve(&key, 5).unwrap();
                let next = of(&to);
                next.take_over(&limiter);
                reservation.cancel();
                assert_eq!(next.peek(&key).remaining(), left, "{from:?} to {to:?}");
                // And by way of both: never more than if it had never been made.
                let reservation = limiter.reserve(&key, 1);
                let before = next.peek(&key).remaining();
                drop(reservation);
                assert!(next.peek(&key).remaining() <= before + 1);
            }
        }
    }
}
