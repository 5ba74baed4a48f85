//! A limiter with other policies that goes on with the counts of one before it.

#[cfg(feature = "fleet")]
use crate::key::Key;
use crate::limiter::RateLimiter;
use crate::rule::{Carry, Moment};

impl RateLimiter {
    /// Goes on with the counts of the limiter before this one, which has to be on the same clock, as
    /// [`Limits::change`] promises.
    ///
    /// [`Limits::change`]: crate::limits::Limits::change
    pub(super) fn take_over(&self, before: &Self) {
        let (inner, next) = (&*before.0, &*self.0);
        let carry = Carry::new(&inner.policies, &next.policies);
        let (old, new) = (&inner.local, &next.local);
        let at = Moment::at(inner.clock.now()).on(inner.clock.wall());
        let mut state = vec![0; new.words()];

        carry.carry(&old.everyone(), &mut state, at);
        new.set_everyone(&state);
        let mut overflows = vec![0; old.words()];
        old.each(|overflow| old.absorb(&mut overflows, overflow), |_, _| {});
        carry.carry(&overflows, &mut state, at);
        new.raise_overflow(&state);
        old.each(
            |_| {},
            |key, before| {
                carry.carry(before, &mut state, at);
                new.put(key, &state, at);
            },
        );
    }

    /// As [`Self::take_over`], of one key alone. What is decided on it at this moment may be missing.
    #[cfg(feature = "fleet")]
    pub(super) fn take_over_key(&self, before: &Self, key: Key) {
        let (inner, next) = (&*before.0, &*self.0);
        let at = Moment::at(inner.clock.now()).on(inner.clock.wall());
        let mut state = vec![0; next.local.words()];
        let carry = Carry::new(&inner.policies, &next.policies);
        carry.carry(&inner.local.state(key), &mut state, at);
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
}
