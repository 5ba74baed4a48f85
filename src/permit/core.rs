//! The core of a gate: the permit word with its clock and fence, and how a slot is counted in and out.
//!
//! What waits for a slot is in `queue.rs`, what is counted in `books.rs`, what the fleet's driver moves in
//! `steering.rs`.

use crate::adaptive::{Estimator, WindowSetup};
use crate::criticality::{ClassParts, Criticality, Reserves};
use crate::permit::books::Books;
use crate::permit::steering::{DRAINED, STARVED};
use crate::permit::tally::Tally;
use crate::permit::waiters::{Handed, Waiters};
use crate::permit::word::Word;
use crate::permit::{Outcome, Shed};
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering, lock};
use crate::time::{Clock, LocalTime};
use crossbeam_utils::CachePadded;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

/// Why the ceiling is what it is; only read to name the reason of a denial.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Status {
    Open,
    Cold,
    Fenced,
    Closed,
}

#[derive(Debug)]
pub(crate) struct GateSetup {
    /// What operators see it by.
    pub(crate) name: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) ceiling: u32,
    pub(crate) status: Status,
    pub(crate) fence_at: LocalTime,
    pub(crate) estimator: Estimator,
    pub(crate) window: WindowSetup,
    /// Whether the estimator moves the ceiling (a local guard) or only has an opinion (a fleet guard).
    pub(crate) estimator_rules: bool,
}

/// What all handles of a gate share.
pub(crate) struct Core {
    /// The permit word, alone on its cache line: whoever reads along here would take it from those who write.
    pub(super) word: CachePadded<AtomicU64>,
    pub(super) read: CachePadded<Read>,
    pub(super) name: Arc<str>,
    pub(super) status: AtomicU8,
    pub(super) estimator_rules: AtomicBool,
    pub(super) local_limit: AtomicU32,
    /// Mean latency of the last window, in microseconds; 0 before there is one.
    pub(super) mean_us: AtomicU64,
    pub(super) hungry: AtomicBool,
    pub(super) signals: AtomicU8,
    pub(super) window: WindowSetup,
    pub(super) tally: Tally,
    pub(super) books: Mutex<Books>,
    pub(super) waiters: Mutex<Waiters>,
    /// Slots of an ended lease period, kept in use for the grace of their cancellation; `None` outside of one.
    pub(super) parked: Mutex<Option<u32>>,
    pub(super) listener: Mutex<Option<Waker>>,
    #[cfg(feature = "fleet")]
    pub(super) fence: crate::fence::Fence,
}

/// What every request reads and hardly one writes.
pub(super) struct Read {
    /// From here on nothing is admitted.
    pub(super) fence_at: AtomicU64,
    /// When the window may close.
    pub(super) window_ends: AtomicU64,
    /// The lease period, which a fence ends.
    pub(super) period: AtomicU32,
    /// The most in use since the books last looked.
    pub(super) peak: AtomicU32,
    pub(super) clock: Clock,
    /// Slots of the ceiling that each class leaves to the more critical, 16 bits a class.
    pub(super) reserves: AtomicU64,
}

impl Read {
    /// How many of `ceiling` slots may be in use for `class` to get one more.
    #[inline]
    fn cap(&self, ceiling: u32, class: Criticality) -> u32 {
        let reserve = Reserves::from_bits(self.reserves.load(Ordering::Relaxed));
        reserve.cap(ClassParts::DEFAULT.cap(ceiling, class), ceiling, class)
    }
}

/// Who asks for a slot.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Asking {
    /// A newcomer, behind those who wait.
    Newcomer,
    /// The first of those who wait; the queue is locked.
    First,
}

impl Core {
    pub(crate) fn new(setup: GateSetup) -> Self {
        let now = setup.clock.now();
        Self {
            word: CachePadded::new(AtomicU64::new(Word::idle(setup.ceiling).bits())),
            read: CachePadded::new(Read {
                fence_at: AtomicU64::new(setup.fence_at.as_nanos()),
                window_ends: AtomicU64::new(now.saturating_add(setup.window.length).as_nanos()),
                period: AtomicU32::new(0),
                peak: AtomicU32::new(0),
                clock: setup.clock,
                reserves: AtomicU64::new(0),
            }),
            name: setup.name,
            status: AtomicU8::new(setup.status as u8),
            estimator_rules: AtomicBool::new(setup.estimator_rules),
            local_limit: AtomicU32::new(setup.estimator.limit()),
            mean_us: AtomicU64::new(0),
            hungry: AtomicBool::new(false),
            signals: AtomicU8::new(0),
            window: setup.window,
            tally: Tally::new(),
            books: Mutex::new(Books::new(setup.estimator)),
            waiters: Mutex::new(Waiters::default()),
            parked: Mutex::new(None),
            listener: Mutex::new(None),
            #[cfg(feature = "fleet")]
            fence: crate::fence::Fence::new(),
        }
    }

    /// Counts a slot in, without a lease to give it back.
    #[inline]
    pub(super) fn admit(&self, class: Criticality, asking: Asking) -> Result<Handed, Shed> {
        // Read before the slot is taken: a fence between the two makes the lease one of the old period.
        let period = self.read.period.load(Ordering::Acquire);
        let mut seen = self.word.load(Ordering::Acquire);
        let in_flight = loop {
            let word = Word::from_bits(seen);
            if word.in_flight() >= self.read.cap(word.ceiling(), class)
                || asking == Asking::Newcomer && word.is_behind_waiters(class)
            {
                return Err(self.reason(word));
            }
            let taken = word.one_more();
            match self.word.compare_exchange_weak(
                seen,
                taken.bits(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => break taken.in_flight(),
                Err(now) => seen = now,
            }
        };
        // The slot first, then the clock: a process that slept between the two must see that it is late.
        let since = self.read.clock.now();
        if since.as_nanos() >= self.read.fence_at.load(Ordering::Acquire) {
            self.take_back_late(asking);
            return Err(Shed::Fenced);
        }
        if self.read.peak.load(Ordering::Relaxed) < in_flight {
            self.read.peak.fetch_max(in_flight, Ordering::Relaxed);
        }
        Ok(Handed {
            since,
            period,
            class,
        })
    }

    #[cold]
    #[inline(never)]
    pub(super) fn take_back_late(&self, asking: Asking) {
        match asking {
            Asking::Newcomer => self.give_back(),
            // The queue is locked, and whoever moves the fence serves it after us.
            Asking::First => {
                self.word.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn reason(&self, word: Word) -> Shed {
        match self.status() {
            Status::Closed => Shed::Closed,
            Status::Cold => Shed::Cold,
            Status::Fenced => Shed::Fenced,
            Status::Open if word.in_flight() < word.ceiling() && !word.has_waiters() => Shed::Class,
            Status::Open => Shed::Full,
        }
    }

    /// Books a refusal.
    pub(crate) fn refused(&self, class: Criticality, shed: Shed) {
        let told = self.tally.shed(class, shed);
        self.tell_hunger();
        if told {
            self.tell();
        }
    }

    /// Somebody went without a slot: news to the driver while more is due.
    pub(super) fn tell_hunger(&self) {
        if self.hungry.load(Ordering::Relaxed) {
            self.signal(STARVED);
        }
    }

    /// Gives back the slot of a lease admitted in `period`.
    ///
    /// What a fence cancelled may still run at the backend: its slot stays in use until the grace is over (I2).
    #[inline]
    pub(super) fn return_slot(&self, period: u32) {
        if period == self.read.period.load(Ordering::Acquire) || !self.park() {
            self.give_back();
        }
    }

    #[cold]
    #[inline(never)]
    fn park(&self) -> bool {
        let mut parked = lock(&self.parked);
        parked.as_mut().map(|count| *count += 1).is_some()
    }

    /// Gives a slot back and hands it to whoever waits. The counterpart of [`Self::admit`].
    #[inline]
    pub(super) fn give_back(&self) {
        let before = Word::from_bits(self.word.fetch_sub(1, Ordering::AcqRel));
        debug_assert!(before.in_flight() > 0, "a slot came back twice");
        if before.has_waiters() || before.in_flight() > before.ceiling() {
            self.gave_back(before);
        }
    }

    #[cold]
    #[inline(never)]
    fn gave_back(&self, before: Word) {
        if before.has_waiters() {
            self.serve_waiters();
        }
        if before.in_flight() > before.ceiling() {
            self.signal(DRAINED);
        }
    }

    /// Books the outcome of a slot taken at `since` on `stripe`, and closes the window if it is over.
    #[inline]
    pub(super) fn settle(
        &self,
        stripe: usize,
        class: Criticality,
        outcome: Outcome,
        since: LocalTime,
    ) {
        self.settle_at(stripe, class, outcome, since, self.read.clock.now());
    }

    /// As [`Self::settle`], with a sample that ended at `now`, which may be long ago.
    #[inline]
    pub(super) fn settle_at(
        &self,
        stripe: usize,
        class: Criticality,
        outcome: Outcome,
        since: LocalTime,
        now: LocalTime,
    ) {
        self.tally
            .settle(stripe, class, outcome, micros(since, now));
        if now.as_nanos() >= self.read.window_ends.load(Ordering::Relaxed) {
            self.close_window(now);
        }
    }

    /// Books time of a slot that belongs to no outcome: until somebody came for it, or after its sample.
    pub(super) fn book(&self, since: LocalTime, now: LocalTime) {
        self.tally.hold(micros(since, now));
    }

    #[cfg(feature = "fleet")]
    pub(super) fn linger(&self, since: LocalTime) {
        self.tally.linger(micros(since, self.read.clock.now()));
    }

    #[cfg(feature = "fleet")]
    pub(super) fn retell(&self, since: LocalTime) {
        self.tally.retell(micros(since, self.read.clock.now()));
    }

    /// Slots that stay in use beyond their samples now.
    #[cfg(feature = "fleet")]
    pub(crate) fn lingering(&self) -> u32 {
        self.tally.lingering()
    }

    /// Moves the ceiling; slots above it drain, waiters below it are served.
    pub(crate) fn set_ceiling(&self, ceiling: u32) {
        if self.move_ceiling(ceiling).has_waiters() {
            self.serve_waiters();
        }
    }

    /// Moves the ceiling; if the answer has waiters they must be served.
    pub(super) fn move_ceiling(&self, ceiling: u32) -> Word {
        self.change(|word| word.with_ceiling(ceiling))
    }

    /// Changes the word by `change`; answers what it was.
    pub(super) fn change(&self, change: impl Fn(Word) -> Word) -> Word {
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            match self.word.compare_exchange_weak(
                seen,
                change(Word::from_bits(seen)).bits(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(before) => return Word::from_bits(before),
                Err(now) => seen = now,
            }
        }
    }

    /// (ceiling, in-flight) as they were at one instant.
    pub(crate) fn sample(&self) -> (u32, u32) {
        let word = Word::from_bits(self.word.load(Ordering::Acquire));
        (word.ceiling(), word.in_flight())
    }

    #[cfg(any(feature = "fleet", test))]
    pub(crate) fn has_waiters(&self) -> bool {
        Word::from_bits(self.word.load(Ordering::Acquire)).has_waiters()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.read.clock
    }

    pub(crate) fn status(&self) -> Status {
        match self.status.load(Ordering::Acquire) {
            status if status == Status::Open as u8 => Status::Open,
            status if status == Status::Cold as u8 => Status::Cold,
            status if status == Status::Fenced as u8 => Status::Fenced,
            _ => Status::Closed,
        }
    }

    /// Says why the ceiling is what it is. After [`Status::Closed`] the estimator moves nothing any more, and
    /// everybody who waits is told.
    pub(crate) fn set_status(&self, status: Status) {
        // Under the books' lock: a window that is being closed must not open the gate again afterwards.
        let books = lock(&self.books);
        self.status.store(status as u8, Ordering::Release);
        drop(books);
        if status == Status::Closed {
            let wakers = lock(&self.waiters).wakers();
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ceiling, in_flight) = self.sample();
        f.debug_struct("Gate")
            .field("name", &self.name)
            .field("status", &self.status())
            .field("ceiling", &ceiling)
            .field("in_flight", &in_flight)
            .finish_non_exhaustive()
    }
}

#[inline]
const fn micros(since: LocalTime, now: LocalTime) -> u64 {
    now.as_nanos().saturating_sub(since.as_nanos()) / 1000
}
