//! A limiter that takes the place of another: it goes on with the views of that one, and with what that one holds.
//!
//! Policies are matched by what they count: one namespace, one window. Whoever still asks the one before, as in the middle
//! of a request, is decided on there as by another process: what it has not told when its task ends goes over as well.
//!
//! A shard of the one before is locked before one of its successor, and nobody is the successor of who succeeds it.

use crate::key::Key;
use crate::layered::hold::Hold;
use crate::layered::shared::Shared;
use crate::layered::slots::Slot;
use crate::layered::space::Space;
use crate::layered::tiers::Holds;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Who took the place of a limiter.
#[derive(Debug)]
pub(super) struct Successor {
    shared: Arc<Shared>,
    /// The number there of each policy here, if it has one.
    policies: Box<[Option<u8>]>,
    /// Whether both go by one clock.
    keeps_time: bool,
}

impl Successor {
    /// None if the two have no count in common.
    fn new(next: &Arc<Shared>, before: &Shared) -> Option<Self> {
        let place = |space: &Space| {
            let mut nexts = next.spaces.iter();
            let place = nexts.position(|it| it.name == space.name)?;
            u8::try_from(place).ok()
        };
        let policies: Box<[Option<u8>]> = before.spaces.iter().map(place).collect();
        policies.iter().any(Option::is_some).then(|| Self {
            shared: Arc::clone(next),
            policies,
            keeps_time: next.clock.goes_with(&before.clock),
        })
    }

    /// Where a policy of the one before counts now.
    fn of(&self, policy: u8) -> Option<(&Shared, u8)> {
        let policy = self.policies[usize::from(policy)]?;
        Some((&self.shared, policy))
    }
}

impl Shared {
    /// Goes on with what `before` counts, if nobody else does.
    pub(super) fn take_over(self: &Arc<Self>, before: &Self) {
        let Some(successor) = Successor::new(self, before) else {
            return;
        };
        if successor.keeps_time {
            // What origin's clock shows is known, and to this one not yet.
            let offset = before.offset.load(Ordering::Relaxed);
            self.offset.store(offset, Ordering::Relaxed);
            self.inherit_link(before);
        }
        // Before anything moves: whoever finds nothing under the lock of a shard finds out where it went.
        if before.successor.set(successor).is_ok() {
            before.hand_over();
            before.hand_over_the_rest();
        }
    }

    /// Whether another limiter has taken the place of this one.
    pub(super) fn has_left(&self) -> bool {
        self.successor.get().is_some()
    }

    /// Where a policy counts now, if it does not here: with a limiter that somebody holds, or that has told another.
    fn next_of(&self, policy: u8) -> Option<(&Self, u8)> {
        let next = self.successor.get()?.of(policy);
        next.filter(|(next, policy)| {
            !next.ended.load(Ordering::Acquire) || next.next_of(*policy).is_some()
        })
    }

    /// There is no task any more, so that nothing goes over to this limiter, and what is left goes on.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.hand_over();
    }

    /// Hands what is here to who took the place of this limiter, if somebody did. Takes no lock for long.
    fn hand_over(&self) {
        let keeps_time = self.successor.get().is_some_and(|it| it.keeps_time);
        for policy in (0..).take(self.spaces.len()) {
            let Some((next, number)) = self.next_of(policy) else {
                continue;
            };
            for shard in &self.shards {
                let mut from = Some(0);
                while let Some(slot) = from {
                    let takes = |slot: &Slot| next.take_over_slot(number, slot, keeps_time);
                    from = shard.lock().of(policy).hand_over(slot, takes);
                }
                // What was waited for may have gone as well: whoever waits asks again.
                shard.release();
            }
        }
    }

    /// What belongs to no slot.
    fn hand_over_the_rest(&self) {
        for policy in (0..).take(self.spaces.len()) {
            let Some((next, number)) = self.next_of(policy) else {
                continue;
            };
            for (shard, nexts) in self.shards.iter().zip(next.shards.iter().cycle()) {
                let foreign = shard.lock().of(policy).hand_over_foreign();
                for line in foreign {
                    let mut tiers = next.shard(line.key).lock();
                    tiers.of(number).handle_import(&line, &next.moment());
                }
                let overflow = shard.lock().of(policy).hand_over_overflow();
                let mut tiers = nexts.lock();
                tiers
                    .of(number)
                    .take_over_overflow(&overflow, &next.moment());
            }
        }
    }

    /// Whether there was room for a slot of the limiter before.
    fn take_over_slot(&self, policy: u8, slot: &Slot, keeps_time: bool) -> bool {
        let shard = self.shard(slot.key);
        let mut tiers = shard.lock();
        if let Some((next, policy)) = self.next_of(policy) {
            // Also of this one everything has gone on.
            drop(tiers);
            let keeps = self.successor.get().is_some_and(|it| it.keeps_time);
            return next.take_over_slot(policy, slot, keeps_time && keeps);
        }
        let took = tiers.of(policy).take_over(slot, keeps_time, &self.moment());
        self.notice(shard, &tiers);
        took
    }

    /// What was held for `cost` came to `actual`, with all policies, wherever that is held by now.
    pub(super) fn settle(&self, key: Key, holds: &Holds, cost: u32, actual: u32) {
        let shard = self.shard(key);
        let mut tiers = shard.lock();
        if self.successor.get().is_none() {
            tiers.settle(key, holds, cost, actual, &self.moment());
            self.notice(shard, &tiers);
            return;
        }
        drop(tiers);
        for policy in (0..).take(self.spaces.len()) {
            self.settle_one(policy, key, holds.of(policy), cost, actual);
        }
    }

    fn settle_one(&self, policy: u8, key: Key, hold: Option<Hold>, cost: u32, actual: u32) {
        let shard = self.shard(key);
        let mut tiers = shard.lock();
        let tier = tiers.of(policy);
        let here = hold.is_some_and(|hold| tier.is_held_here(key, hold));
        match self.next_of(policy) {
            Some((next, policy)) if !here => {
                drop(tiers);
                next.settle_one(policy, key, hold, cost, actual);
            }
            _ => {
                tier.settle(key, hold, cost, actual, &self.moment());
                self.notice(shard, &tiers);
            }
        }
    }

    /// Gives back the `units` that were booked last on `key`, with all policies, wherever they count by now.
    pub(super) fn refund(&self, key: Key, units: u32) {
        let mut tiers = self.shard(key).lock();
        if self.successor.get().is_none() {
            tiers.refund(key, units, &self.moment());
            return;
        }
        drop(tiers);
        for policy in (0..).take(self.spaces.len()) {
            self.refund_one(policy, key, units);
        }
    }

    fn refund_one(&self, policy: u8, key: Key, units: u32) {
        let mut tiers = self.shard(key).lock();
        let tier = tiers.of(policy);
        let here = tier.has_accepted(key);
        match self.next_of(policy) {
            Some((next, policy)) if !here => {
                drop(tiers);
                next.refund_one(policy, key, units);
            }
            _ => tier.refund(key, units, &self.moment()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layered::link::{Link, LinkState};
    use crate::layered::{LayeredLimiter, Unheard};
    use crate::quota::Quota;
    use crate::store::RedisStore;
    use crate::time::LocalTime;
    use futures_util::FutureExt;
    use std::time::Duration;
    use tokio::runtime::{Builder, Runtime};

    /// In which tasks stand still until somebody waits in it.
    fn runtime() -> Runtime {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime")
    }

    /// A limiter of an origin that does not answer.
    fn limiter(runtime: &Runtime) -> LayeredLimiter {
        let nowhere = RedisStore::new("redis://127.0.0.1:1").expect("an address");
        let builder = LayeredLimiter::builder(nowhere, "nowhere", Quota::per_hour(100));
        let builder = builder.runtime(runtime.handle().clone());
        let limiter = builder.patience(Duration::from_millis(100)).build();
        limiter.expect("settings that work")
    }

    #[test]
    fn whoever_waits_for_what_has_gone_over_asks_again() {
        let runtime = runtime();
        let (before, next, key) = (limiter(&runtime), limiter(&runtime), Key::of("a"));
        let shard = before.0.shared.shard(key);
        let seen = shard.seen();
        assert!(shard.answer_after(seen).now_or_never().is_none());
        next.take_over(&before);
        assert!(shard.answer_after(seen).now_or_never().is_some());
    }

    #[test]
    fn an_origin_that_is_away_is_away_for_who_comes_after_too() {
        let runtime = runtime();
        let (before, next) = (limiter(&runtime), limiter(&runtime));
        let mut state = LinkState::new();
        state.handle_failure(LocalTime::ZERO, LocalTime::ZERO);
        let now = LocalTime::from_nanos(10_000_000_000);
        before.0.shared.set_link(&state, now);
        next.take_over(&before);
        assert_eq!(next.0.shared.moment().link, Link::Away);
        // Also when its task has begun, and has asked.
        let lets_run =
            |ms| runtime.block_on(async { tokio::time::sleep(Duration::from_millis(ms)).await });
        lets_run(20);
        assert!(next.check(&Key::of("a"), 1).is_allowed());
        lets_run(200);
        assert_eq!(next.0.shared.moment().link, Link::Away);
        assert!(next.stats().failures > 0);
    }

    #[test]
    fn what_has_gone_over_is_told_by_nobody_else_and_takes_no_memory_there() {
        let runtime = runtime();
        let (before, next) = (limiter(&runtime), limiter(&runtime));
        for number in 0..1_000u32 {
            assert!(before.check(&Key::of(&number), 5).is_allowed());
        }
        let bytes = before.stats().bytes;
        next.take_over(&before);
        assert_eq!((before.stats().keys, next.stats().keys), (0, 1_000));
        assert!(before.stats().bytes < bytes / 2);
        assert_eq!(runtime.block_on(before.close()), Ok(()));
        let unheard = Err(Unheard { units: 5_000 });
        assert_eq!(runtime.block_on(next.close()), unheard);
    }

    /// As where the limit is taken out of the plan soon after it was changed.
    #[test]
    fn what_is_held_is_settled_here_when_who_came_after_has_ended() {
        let runtime = runtime();
        let (before, next, key) = (limiter(&runtime), limiter(&runtime), Key::of("a"));
        let held = runtime.block_on(before.reserve(&key, 10)).expect("it fits");
        next.take_over(&before);
        assert_eq!(next.peek(&key).remaining(), 90);
        runtime.block_on(next.close()).expect("nothing to tell");
        held.commit(6);
        assert_eq!(before.peek(&key).remaining(), 94);
        assert_eq!(before.0.shared.unheard(), 6);
    }
}
