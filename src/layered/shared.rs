//! What the handles of a limiter and its background task share: the tiers, a clock, and a way to wake each other.

use crate::key::Key;
use crate::layered::link::{Link, LinkState};
use crate::layered::setup::Setup;
use crate::layered::space::Space;
use crate::layered::succession::Successor;
use crate::layered::tiers::Tiers;
use crate::layered::time::{Moment, shared_time};
use crate::limiter::room;
use crate::time::{Clock, LocalTime};
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The most keys of one tier, as long as there are no more shards than there may be: little enough to move without a
/// caller noticing.
const SHARD_KEYS: usize = 768;

/// The tiers of a limiter, by key.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) shards: Box<[CachePadded<Shard>]>,
    secret: u64,
    pub(super) clock: Clock,
    pub(super) offset: AtomicI64,
    link: AtomicU8,
    round_trip: AtomicU64,
    /// While origin does not answer: when it is asked again.
    not_before: AtomicU64,
    /// When the task wakes by itself, in nanoseconds of the clock.
    pub(super) wake_at: AtomicU64,
    pub(super) wake: Notify,
    /// Whether the log says that there are more keys than room.
    told_full: AtomicBool,
    pub(super) counts: Counts,
    /// One for each policy.
    pub(super) spaces: Arc<[Space]>,
    /// What the task knows of the link, and what it is to begin with.
    state: Mutex<LinkState>,
    inherited: Mutex<Option<LinkState>>,
    /// There is no task any more.
    pub(super) ended: AtomicBool,
    /// Who took the place of this limiter.
    pub(super) successor: OnceLock<Successor>,
}

/// What the task has done.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) reads: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) global_failures: AtomicU64,
}

/// The tiers of some keys.
#[derive(Debug)]
pub(super) struct Shard {
    tiers: Mutex<Tiers>,
    /// Whether the task has something to look for here.
    pub(super) busy: AtomicBool,
    /// How often origin has answered, or did not.
    answers: AtomicU64,
    answered: Notify,
}

/// The answers that had come when a caller was told to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen(u64);

impl Shard {
    pub(super) fn lock(&self) -> MutexGuard<'_, Tiers> {
        // A tier's steps do not call out, so a panic in one is a bug in it; counting goes on.
        self.tiers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to wait for; under the lock, so that no answer is missed.
    pub(super) fn seen(&self) -> Seen {
        Seen(self.answers.load(Ordering::Acquire))
    }

    /// Origin has answered, or will not: whoever waits asks again.
    pub(super) fn release(&self) {
        self.answers.fetch_add(1, Ordering::Release);
        self.answered.notify_waiters();
    }

    /// Ready when origin has answered something that may be what was asked.
    pub(super) async fn answer_after(&self, seen: Seen) {
        // Made before the look, so that what comes between the two is not missed.
        let answered = self.answered.notified();
        if self.answers.load(Ordering::Acquire) == seen.0 {
            answered.await;
        }
    }
}

impl Shared {
    /// One set-up for each policy, all with the same seed.
    pub(super) fn new(
        setups: &[Setup],
        spaces: Arc<[Space]>,
        max_keys: usize,
        clock: Clock,
        offset: i64,
    ) -> Self {
        let shards = room::shards(max_keys, SHARD_KEYS);
        let shard = |number: usize| {
            let setups = setups.iter().map(|setup| Setup {
                room: max_keys / shards + usize::from(number < max_keys % shards),
                // Far enough apart for each tier's names.
                seed: setup.seed.wrapping_add((number as u64) << 40),
                ..*setup
            });
            CachePadded::new(Shard {
                tiers: Mutex::new(Tiers::new(setups)),
                busy: AtomicBool::new(false),
                answers: AtomicU64::new(0),
                answered: Notify::new(),
            })
        };
        Self {
            shards: (0..shards).map(shard).collect(),
            secret: setups[0].seed,
            clock,
            offset: AtomicI64::new(offset),
            link: AtomicU8::new(0),
            round_trip: AtomicU64::new(0),
            not_before: AtomicU64::new(0),
            wake_at: AtomicU64::new(0),
            wake: Notify::new(),
            told_full: AtomicBool::new(false),
            counts: Counts::default(),
            spaces,
            state: Mutex::new(LinkState::new()),
            inherited: Mutex::new(None),
            ended: AtomicBool::new(false),
            successor: OnceLock::new(),
        }
    }

    #[inline]
    pub(super) fn shard(&self, key: Key) -> &Shard {
        let [high, low] = key.halves();
        let product = u128::from(high ^ self.secret) * u128::from(low | 1);
        let place = (product >> 64) as u64 ^ product as u64;
        let at = (u128::from(place) * self.shards.len() as u128) >> 64;
        &self.shards[at as usize]
    }

    #[inline]
    pub(super) fn moment(&self) -> Moment {
        let local = self.clock.now();
        Moment {
            local,
            shared: shared_time(local, self.offset.load(Ordering::Relaxed)),
            link: match self.link.load(Ordering::Relaxed) {
                0 => Link::Up,
                1 => Link::Down,
                _ => Link::Away,
            },
            round_trip: Duration::from_nanos(self.round_trip.load(Ordering::Relaxed)),
        }
    }

    /// What callers need to know of the link.
    pub(super) fn set_link(&self, state: &LinkState, now: LocalTime) {
        let link = match state.link(now) {
            Link::Up => 0,
            Link::Down => 1,
            Link::Away => 2,
        };
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let probe = state.poll_timeout().unwrap_or(LocalTime::ZERO);
        self.round_trip
            .store(nanos(state.round_trip()), Ordering::Relaxed);
        self.not_before.store(probe.as_nanos(), Ordering::Relaxed);
        self.link.store(link, Ordering::Relaxed);
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = *state;
    }

    /// Goes on with what `before` knows of the link.
    pub(super) fn inherit_link(&self, before: &Self) {
        let state = *before.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = state.carried();
        self.set_link(&state, self.clock.now());
        *self
            .inherited
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(state);
    }

    /// What the task is to begin with, once.
    pub(super) fn take_inherited(&self) -> Option<LinkState> {
        self.inherited
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Accepted units that origin has not confirmed. Takes no lock for long.
    pub(super) fn unheard(&self) -> u64 {
        let mut units = 0;
        for shard in &self.shards {
            let policies = shard.lock().iter().count();
            for policy in (0..).take(policies) {
                let mut from = Some(0);
                while let Some(number) = from {
                    let (some, next) = shard.lock().of(policy).unheard(number);
                    (units, from) = (units + some, next);
                }
            }
        }
        units
    }

    /// Says once that keys share a cell.
    #[inline]
    pub(super) fn tell_full(&self, max_keys: usize) {
        if !self.told_full.load(Ordering::Relaxed) {
            self.tell_full_once(max_keys);
        }
    }

    #[cold]
    fn tell_full_once(&self, max_keys: usize) {
        if !self.told_full.swap(true, Ordering::Relaxed) {
            crate::observe::table_full(max_keys);
        }
    }

    /// Nobody asks origin any more: nobody waits for it either.
    pub(super) fn leave_alone(&self) {
        self.link.store(2, Ordering::Relaxed);
        self.not_before.store(u64::MAX, Ordering::Relaxed);
        for shard in &self.shards {
            // Behind the lock, so that nobody has just decided to wait.
            drop(shard.lock());
            shard.release();
        }
    }

    /// Wakes the task if it would come too late for what `tiers` have for it.
    #[inline]
    pub(super) fn notice(&self, shard: &Shard, tiers: &Tiers) {
        let due = tiers.poll_timeout();
        if due == LocalTime::NEVER {
            return;
        }
        shard.busy.store(true, Ordering::Release);
        let due = due.as_nanos().max(self.not_before.load(Ordering::Relaxed));
        if due < self.wake_at.load(Ordering::SeqCst) {
            self.rouse(due);
        }
    }

    #[cold]
    fn rouse(&self, due: u64) {
        if self.wake_at.fetch_min(due, Ordering::SeqCst) > due {
            self.wake.notify_one();
        }
    }
}
