//! What the handles of a limiter and its background task share: the tiers, who waits, and a way to wake each other.

use crate::decision::Decisions;
use crate::key::Key;
use crate::leased::handle::Unreturned;
use crate::leased::lease::Lease;
use crate::leased::tier::{Now, Outcome, Setup, Tier};
use crate::limiter::room;
use crate::rule::Moment;
use crate::strict::{Breaker, ClockOfStore, Parts};
use crate::time::LocalTime;
use crossbeam_utils::CachePadded;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// The most keys of one tier, as long as there are no more shards than there may be: little enough to move without a
/// caller noticing.
const SHARD_KEYS: usize = 768;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) shards: Box<[CachePadded<Shard>]>,
    pub(super) setup: Arc<Setup>,
    pub(super) parts: Parts,
    pub(super) clock_of_store: ClockOfStore,
    breaker: Mutex<Breaker>,
    /// Nobody asks the store any more.
    closed: AtomicBool,
    /// How the task ended.
    ended: OnceLock<Result<(), Unreturned>>,
    /// Nanoseconds to the store and back.
    round_trip: AtomicU64,
    /// When the task wakes by itself, in nanoseconds of the clock.
    pub(super) wake_at: AtomicU64,
    pub(super) wake: Notify,
    pub(super) counts: Counts,
    /// Of another limiter, which has taken over what the store was not told of.
    pub(super) successor: OnceLock<Arc<Self>>,
}

/// What has happened.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) asked: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) in_hand: AtomicU64,
    pub(super) waits: AtomicU64,
    pub(super) without: AtomicU64,
    pub(super) remembered: AtomicU64,
}

/// One tier, and the callers that wait for it.
#[derive(Debug)]
pub(super) struct Shard {
    inner: Mutex<Inner>,
    /// Whether the task has something to look for here.
    pub(super) busy: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) tier: Tier,
    waiting: HashMap<u64, oneshot::Sender<Reply>>,
    tickets: u64,
}

/// What a caller is told that waited.
#[derive(Debug)]
pub(super) enum Reply {
    Decided(Decisions, Vec<Lease>),
    /// The store did not answer.
    Without,
}

impl Shard {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A tier's steps do not call out, so a panic in one is a bug in it; counting goes on.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Lets a caller wait, under the ticket that is answered.
    pub(super) fn wait(
        &mut self,
        key: Key,
        cost: u32,
        now: Now,
        caller: oneshot::Sender<Reply>,
    ) -> u64 {
        self.tickets += 1;
        self.waiting.insert(self.tickets, caller);
        self.tier.wait(key, cost, self.tickets, now);
        self.tickets
    }

    /// A caller does not wait any more.
    pub(super) fn quit(&mut self, key: Key, ticket: u64, now: Now) {
        if self.waiting.remove(&ticket).is_some() {
            self.tier.quit(key, ticket, now);
        }
    }

    /// Tells those who waited what they got. What nobody takes is put in hand.
    pub(super) fn tell(&mut self, served: Vec<Outcome>, now: Now) {
        for outcome in served {
            let (key, decisions) = (outcome.key, outcome.decisions);
            let reply = Reply::Decided(decisions, outcome.drawn);
            let unheard = match self.waiting.remove(&outcome.ticket) {
                Some(caller) => caller.send(reply).err(),
                None => Some(reply),
            };
            if let Some(Reply::Decided(_, drawn)) = unheard
                && !drawn.is_empty()
            {
                self.tier.put_back(key, &drawn, now);
            }
        }
    }

    /// Tells those who waited that nobody answered.
    pub(super) fn tell_without(&mut self, tickets: Vec<u64>) {
        for ticket in tickets {
            if let Some(caller) = self.waiting.remove(&ticket) {
                // Whoever does not wait any more need not know.
                let _ = caller.send(Reply::Without);
            }
        }
    }
}

impl Shared {
    pub(super) fn new(setup: Setup, max_keys: usize, parts: Parts) -> Self {
        let setup = Arc::new(setup);
        let shards = room::shards(max_keys, SHARD_KEYS);
        let shard = |number: usize| {
            let room = max_keys / shards + usize::from(number < max_keys % shards);
            CachePadded::new(Shard {
                inner: Mutex::new(Inner {
                    tier: Tier::new(Arc::clone(&setup), room),
                    waiting: HashMap::new(),
                    tickets: 0,
                }),
                busy: AtomicBool::new(false),
            })
        };
        Self {
            shards: (0..shards).map(shard).collect(),
            setup,
            clock_of_store: ClockOfStore::guess(&parts.clock),
            breaker: Mutex::new(parts.breaker.clone()),
            parts,
            closed: AtomicBool::new(false),
            ended: OnceLock::new(),
            round_trip: AtomicU64::new(0),
            wake_at: AtomicU64::new(0),
            wake: Notify::new(),
            counts: Counts::default(),
            successor: OnceLock::new(),
        }
    }

    #[inline]
    pub(super) fn shard(&self, key: Key) -> &Shard {
        let [high, low] = key.halves();
        let product = u128::from(high ^ self.setup.holder) * u128::from(low | 1);
        let place = (product >> 64) as u64 ^ product as u64;
        let at = (u128::from(place) * self.shards.len() as u128) >> 64;
        &self.shards[at as usize]
    }

    #[inline]
    pub(super) fn now(&self) -> Now {
        Now {
            local: self.parts.clock.now(),
            round_trip: Duration::from_nanos(self.round_trip.load(Ordering::Relaxed)),
        }
    }

    /// The present moment on the store's clock, as far as it is known here.
    pub(super) fn moment(&self) -> Moment {
        self.clock_of_store.at(self.parts.clock.now()).moment(0)
    }

    /// Up to `units` that were admitted on `key` without the store were not used: they go back wherever they count by now.
    /// Answers how many are not known here any more.
    pub(super) fn disown(&self, key: Key, units: u32) -> u32 {
        let (now, shard) = (self.now(), self.shard(key));
        // Behind the lock under which they become what the store is asked.
        let mut inner = shard.lock();
        let mut left = self.parts.untold.give_back(key, units, self.moment());
        if left > 0 {
            left -= inner.tier.disown(key, left, now);
            self.notice(shard, &inner.tier);
        }
        drop(inner);
        match self.successor.get() {
            Some(next) if left > 0 => next.disown(key, left),
            _ => left,
        }
    }

    pub(super) fn note_round_trip(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let known = self.round_trip.load(Ordering::Relaxed);
        let now = match known {
            0 => took,
            known => known - known / 8 + took / 8,
        };
        self.round_trip.store(now, Ordering::Relaxed);
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it makes sense to wait for the store. Asked behind a shard's lock, so that whoever waits is found.
    pub(super) fn may_ask(&self, now: LocalTime) -> bool {
        !self.closed.load(Ordering::Acquire) && self.breaker().would_pass(now)
    }

    pub(super) fn is_up(&self) -> bool {
        !self.closed.load(Ordering::Acquire) && self.breaker().is_closed()
    }

    /// Nobody waits any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for shard in &self.shards {
            let mut inner = shard.lock();
            let left = inner.tier.close(self.now());
            inner.tell_without(left);
            shard.busy.store(true, Ordering::Release);
        }
    }

    /// The store is left alone: whoever waits is told so.
    pub(super) fn leave_alone(&self) {
        for shard in &self.shards {
            let mut inner = shard.lock();
            let left = inner.tier.leave();
            inner.tell_without(left);
        }
    }

    /// There is no task any more: whoever waits is told so, and nobody waits from here on. Decides nothing, since the task
    /// may have ended by a panic.
    pub(super) fn abandon(&self) {
        self.closed.store(true, Ordering::Release);
        for shard in &self.shards {
            for (_, caller) in shard.lock().waiting.drain() {
                // Whoever does not wait any more need not know.
                let _ = caller.send(Reply::Without);
            }
        }
        if self.ended.get().is_none() {
            self.end(Err(Unreturned { units: self.held() }));
        }
    }

    /// What was spent without asking, and the store has not confirmed, is left to a limiter that has taken over, if there is
    /// one. Of which nobody knows whether it was heard: it may count twice, and never not at all.
    pub(super) fn leave_owed(&self) {
        let moment = self.moment();
        for shard in &self.shards {
            let mut inner = shard.lock();
            for (key, units) in inner.tier.take_owed() {
                self.parts.untold.add_each(key, &units, moment);
            }
        }
    }

    /// The task has ended, like this.
    pub(super) fn end(&self, how: Result<(), Unreturned>) {
        // The first end is the one.
        let _ = self.ended.set(how);
    }

    /// How the task ended, if it has.
    pub(super) fn ended(&self) -> Option<Result<(), Unreturned>> {
        self.ended.get().copied()
    }

    /// Units in hand, or on their way back.
    pub(super) fn held(&self) -> u64 {
        let now = self.parts.clock.now();
        let shards = self.shards.iter();
        shards.map(|shard| shard.lock().tier.unreturned(now)).sum()
    }

    /// Wakes the task if it would come too late for what `tier` has for it.
    #[inline]
    pub(super) fn notice(&self, shard: &Shard, tier: &Tier) {
        let due = tier.poll_timeout();
        if due == LocalTime::NEVER {
            return;
        }
        shard.busy.store(true, Ordering::Release);
        if due.as_nanos() < self.wake_at.load(Ordering::SeqCst) {
            self.rouse(due.as_nanos());
        }
    }

    #[cold]
    fn rouse(&self, due: u64) {
        if self.wake_at.fetch_min(due, Ordering::SeqCst) > due {
            self.wake.notify_one();
        }
    }
}
