//! The gate: the permit word with its clock, fence, waiters, counts and the estimator that may move its ceiling.
//!
//! Both guards are a gate with somebody who moves its ceiling: the local estimator, or the fleet.

use crate::adaptive::{Estimator, WindowSetup};
use crate::criticality::{ClassParts, Criticality};
use crate::permit::tally::{Tally, Totals};
use crate::permit::waiters::{Handed, Ticket, Waiters};
use crate::permit::word::{WAITERS, Word};
use crate::permit::{Lease, Outcome, Shed};
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering};
use crate::time::{Clock, LocalTime};
use crossbeam_utils::CachePadded;
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

/// What the driver of a fleet guard wants to hear from the request path.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Signals {
    /// A request was refused while the share is below the node's target.
    pub(crate) starved: bool,
    /// A slot came back while more were in use than the ceiling allows.
    pub(crate) drained: bool,
}

const STARVED: u8 = 1;
const DRAINED: u8 = 2;

#[derive(Debug)]
pub(crate) struct GateSetup {
    pub(crate) clock: Clock,
    pub(crate) ceiling: u32,
    pub(crate) status: Status,
    pub(crate) fence_at: LocalTime,
    pub(crate) estimator: Estimator,
    pub(crate) window: WindowSetup,
    /// Whether the estimator moves the ceiling (a local guard) or only has an opinion (a fleet guard).
    pub(crate) estimator_rules: bool,
}

#[derive(Debug)]
pub(crate) struct Gate {
    hot: CachePadded<Hot>,
    fence_at: AtomicU64,
    period: AtomicU32,
    status: AtomicU8,
    window_ends: AtomicU64,
    estimator_rules: AtomicBool,
    local_limit: AtomicU32,
    hungry: AtomicBool,
    signals: AtomicU8,
    clock: Clock,
    parts: ClassParts,
    window: WindowSetup,
    tally: Tally,
    books: Mutex<Books>,
    waiters: Mutex<Waiters>,
    /// Slots of an ended lease period, kept in use for the grace of their cancellation; `None` outside of one.
    parked: Mutex<Option<u32>>,
    listener: Mutex<Option<Waker>>,
    #[cfg(feature = "fleet")]
    fence: crate::fence::Fence,
}

/// What every request writes.
#[derive(Debug)]
struct Hot {
    word: AtomicU64,
    /// The most in use since the window began.
    window_peak: AtomicU32,
    /// The most in use since the last report.
    report_peak: AtomicU32,
}

/// What is settled at leisure, by one at a time.
#[derive(Debug)]
struct Books {
    /// Since the gate was made.
    totals: Totals,
    /// Since the window began.
    window: Totals,
    estimator: Estimator,
}

impl Gate {
    pub(crate) fn new(setup: GateSetup) -> Self {
        let now = setup.clock.now();
        Self {
            hot: CachePadded::new(Hot {
                word: AtomicU64::new(Word::idle(setup.ceiling).bits()),
                window_peak: AtomicU32::new(0),
                report_peak: AtomicU32::new(0),
            }),
            fence_at: AtomicU64::new(setup.fence_at.as_nanos()),
            period: AtomicU32::new(0),
            status: AtomicU8::new(setup.status as u8),
            window_ends: AtomicU64::new(now.saturating_add(setup.window.length).as_nanos()),
            estimator_rules: AtomicBool::new(setup.estimator_rules),
            local_limit: AtomicU32::new(setup.estimator.limit()),
            hungry: AtomicBool::new(false),
            signals: AtomicU8::new(0),
            clock: setup.clock,
            parts: ClassParts::DEFAULT,
            window: setup.window,
            tally: Tally::new(),
            books: Mutex::new(Books {
                totals: Totals::default(),
                window: Totals::default(),
                estimator: setup.estimator,
            }),
            waiters: Mutex::new(Waiters::default()),
            parked: Mutex::new(None),
            listener: Mutex::new(None),
            #[cfg(feature = "fleet")]
            fence: crate::fence::Fence::new(),
        }
    }

    /// Takes a slot for `class`.
    #[inline]
    pub(crate) fn try_acquire(self: &Arc<Self>, class: Criticality) -> Result<Lease, Shed> {
        match self.admit(class) {
            Ok(slot) => Ok(Lease::new(Arc::clone(self), slot.since, slot.period)),
            Err(shed) => {
                self.refused(shed);
                Err(shed)
            }
        }
    }

    /// Counts a slot in, without a lease to give it back.
    #[inline]
    fn admit(&self, class: Criticality) -> Result<Handed, Shed> {
        // Read before the slot is taken: a fence between the two makes the lease one of the old period.
        let period = self.period.load(Ordering::Acquire);
        let mut seen = self.hot.word.load(Ordering::Relaxed);
        let in_flight = loop {
            let word = Word::from_bits(seen);
            if word.in_flight() >= self.parts.cap(word.ceiling(), class) {
                return Err(self.reason(word));
            }
            let taken = word.one_more();
            match self.hot.word.compare_exchange_weak(
                seen,
                taken.bits(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => break taken.in_flight(),
                Err(now) => seen = now,
            }
        };
        // The slot first, then the clock: a process that slept between the two must see that it is late.
        let since = self.clock.now();
        if self.is_late(since) {
            self.give_back();
            return Err(Shed::Fenced);
        }
        raise(&self.hot.window_peak, in_flight);
        raise(&self.hot.report_peak, in_flight);
        Ok(Handed { since, period })
    }

    #[cold]
    fn reason(&self, word: Word) -> Shed {
        match self.status.load(Ordering::Relaxed) {
            status if status == Status::Closed as u8 => Shed::Closed,
            status if status == Status::Cold as u8 => Shed::Cold,
            status if status == Status::Fenced as u8 => Shed::Fenced,
            _ if word.in_flight() < word.ceiling() => Shed::Class,
            _ => Shed::Full,
        }
    }

    pub(crate) fn refused(&self, shed: Shed) {
        self.tally.shed(shed);
        if self.hungry.load(Ordering::Relaxed) {
            self.signal(STARVED);
        }
    }

    /// Gives back the slot of a lease admitted in `period`.
    ///
    /// What a fence cancelled may still run at the backend: its slot stays in use until the grace is over (I2).
    #[inline]
    pub(super) fn return_slot(&self, period: u32) {
        if period == self.period.load(Ordering::Acquire) || !self.park() {
            self.give_back();
        }
    }

    #[cold]
    fn park(&self) -> bool {
        let mut parked = self.parked.lock().expect("nothing panics under this lock");
        parked.as_mut().map(|count| *count += 1).is_some()
    }

    /// Gives a slot back and hands it to whoever waits. The counterpart of [`Self::admit`].
    #[inline]
    pub(super) fn give_back(&self) {
        let before = Word::from_bits(self.hot.word.fetch_sub(1, Ordering::AcqRel));
        debug_assert!(before.in_flight() > 0, "a slot came back twice");
        if before.has_waiters() {
            self.serve_waiters();
        }
        if before.in_flight() > before.ceiling() {
            self.signal(DRAINED);
        }
    }

    /// Books the outcome of a slot taken at `since`, and closes the window if it is over.
    #[inline]
    pub(super) fn settle(&self, outcome: Outcome, since: LocalTime) {
        let now = self.clock.now();
        self.tally.settle(outcome, now.since(since));
        if now.as_nanos() >= self.window_ends.load(Ordering::Relaxed) {
            self.close_window(now);
        }
    }

    pub(super) fn linger(&self, since: LocalTime) {
        self.tally.linger(self.clock.now().since(since));
    }

    /// Moves the ceiling; slots above it drain, waiters below it are served.
    pub(crate) fn set_ceiling(&self, ceiling: u32) {
        let mut seen = self.hot.word.load(Ordering::Relaxed);
        loop {
            let word = Word::from_bits(seen).with_ceiling(ceiling);
            match self.hot.word.compare_exchange_weak(
                seen,
                word.bits(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        if Word::from_bits(seen).has_waiters() {
            self.serve_waiters();
        }
    }

    /// (ceiling, in-flight) as they were at one instant.
    pub(crate) fn sample(&self) -> (u32, u32) {
        let word = Word::from_bits(self.hot.word.load(Ordering::Acquire));
        (word.ceiling(), word.in_flight())
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What the estimator of this process alone would allow.
    pub(crate) fn local_limit(&self) -> u32 {
        self.local_limit.load(Ordering::Relaxed)
    }

    /// Everything counted so far.
    pub(crate) fn totals(&self) -> Totals {
        let mut books = self
            .books
            .lock()
            .expect("the books are not poisoned: nothing panics under them");
        self.collect(&mut books);
        books.totals
    }

    pub(crate) fn status(&self) -> Status {
        match self.status.load(Ordering::Relaxed) {
            status if status == Status::Open as u8 => Status::Open,
            status if status == Status::Cold as u8 => Status::Cold,
            status if status == Status::Fenced as u8 => Status::Fenced,
            _ => Status::Closed,
        }
    }

    pub(crate) fn set_status(&self, status: Status) {
        self.status.store(status as u8, Ordering::Release);
        if status == Status::Closed {
            let wakers = self.lock_waiters().wakers();
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    fn collect(&self, books: &mut Books) {
        let fresh = self.tally.drain();
        books.totals.add(&fresh);
        books.window.add(&fresh);
    }

    #[cold]
    fn close_window(&self, now: LocalTime) {
        // Whoever comes second finds the window closed by the first.
        let Ok(mut books) = self.books.try_lock() else {
            return;
        };
        if now.as_nanos() < self.window_ends.load(Ordering::Relaxed) {
            return;
        }
        self.collect(&mut books);
        let (ceiling, in_flight) = self.sample();
        let seen = books.window;
        if seen.successes + seen.overloads < u64::from(self.window.min_samples) {
            // Too few to say anything: the window goes on.
            self.window_ends.store(
                now.saturating_add(self.window.length / 4).as_nanos(),
                Ordering::Relaxed,
            );
            return;
        }
        let peak = self
            .hot
            .window_peak
            .swap(in_flight, Ordering::Relaxed)
            .max(in_flight);
        books.window = Totals::default();
        let limit = books.estimator.close(&seen, peak, ceiling);
        self.local_limit.store(limit, Ordering::Relaxed);
        self.window_ends.store(
            now.saturating_add(self.window.length).as_nanos(),
            Ordering::Relaxed,
        );
        drop(books);
        if self.estimator_rules.load(Ordering::Relaxed) && self.status() == Status::Open {
            self.set_ceiling(limit);
        }
    }

    fn lock_waiters(&self) -> impl std::ops::DerefMut<Target = Waiters> + '_ {
        self.waiters
            .lock()
            .expect("the queue is not poisoned: nothing panics under it")
    }

    /// Hands free slots to those who wait, in order.
    #[cold]
    fn serve_waiters(&self) {
        let mut wake = Vec::new();
        {
            let mut waiters = self.lock_waiters();
            while let Some(ticket) = waiters.first() {
                // Caps fall with the class, so if the first cannot be served nobody can.
                let Ok(slot) = self.admit_waiter(ticket.class()) else {
                    break;
                };
                wake.extend(waiters.hand(ticket, slot));
            }
            if waiters.is_empty() {
                self.hot.word.fetch_and(!WAITERS, Ordering::AcqRel);
            }
        }
        wake.into_iter().for_each(Waker::wake);
    }

    /// As [`Self::admit`], but a late slot is given back without serving the queue again, which is locked.
    fn admit_waiter(&self, class: Criticality) -> Result<Handed, Shed> {
        let period = self.period.load(Ordering::Acquire);
        let mut seen = self.hot.word.load(Ordering::Acquire);
        let in_flight = loop {
            let word = Word::from_bits(seen);
            if word.in_flight() >= self.parts.cap(word.ceiling(), class) {
                return Err(Shed::Full);
            }
            let taken = word.one_more();
            match self.hot.word.compare_exchange_weak(
                seen,
                taken.bits(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => break taken.in_flight(),
                Err(now) => seen = now,
            }
        };
        let since = self.clock.now();
        if self.is_late(since) {
            self.hot.word.fetch_sub(1, Ordering::AcqRel);
            return Err(Shed::Fenced);
        }
        raise(&self.hot.window_peak, in_flight);
        raise(&self.hot.report_peak, in_flight);
        Ok(Handed { since, period })
    }

    #[inline]
    fn is_late(&self, now: LocalTime) -> bool {
        now.as_nanos() >= self.fence_at.load(Ordering::Acquire)
    }

    fn signal(&self, what: u8) {
        if self.signals.fetch_or(what, Ordering::AcqRel) & what == 0 {
            let listener = self
                .listener
                .lock()
                .expect("nothing panics under this lock")
                .take();
            if let Some(listener) = listener {
                listener.wake();
            }
        }
    }
}

/// What the waiting form needs.
#[cfg(feature = "fleet")]
impl Gate {
    /// Joins the queue, unless a slot came back meanwhile.
    pub(super) fn enqueue(&self, class: Criticality, waker: Waker) -> Result<Handed, Ticket> {
        let mut waiters = self.lock_waiters();
        // From here on whoever gives a slot back comes to the queue; one that came back before is seen below.
        self.hot.word.fetch_or(WAITERS, Ordering::AcqRel);
        if waiters.is_first(class)
            && let Ok(slot) = self.admit_waiter(class)
        {
            if waiters.is_empty() {
                self.hot.word.fetch_and(!WAITERS, Ordering::AcqRel);
            }
            return Ok(slot);
        }
        Err(waiters.join(class, waker))
    }

    /// The slot handed to `ticket`; else remembers whom to wake.
    pub(super) fn poll_ticket(&self, ticket: Ticket, waker: &Waker) -> Option<Handed> {
        let mut waiters = self.lock_waiters();
        let handed = waiters.take(ticket);
        if handed.is_none() {
            waiters.update(ticket, waker);
        }
        handed
    }

    /// Leaves the queue; a slot handed over meanwhile is the caller's.
    pub(super) fn leave(&self, ticket: Ticket) -> Option<Handed> {
        let mut waiters = self.lock_waiters();
        let handed = waiters.leave(ticket);
        if waiters.is_empty() {
            self.hot.word.fetch_and(!WAITERS, Ordering::AcqRel);
        }
        handed
    }

    /// Whether a slot handed over earlier may still be used.
    pub(super) fn still_good(&self, slot: Handed) -> bool {
        slot.period == self.period.load(Ordering::Acquire) && !self.is_late(self.clock.now())
    }
}

/// What the driver of a fleet guard needs.
#[cfg(feature = "fleet")]
impl Gate {
    /// From `at` on nothing is admitted.
    pub(crate) fn set_fence_at(&self, at: LocalTime) {
        self.fence_at.store(at.as_nanos(), Ordering::Release);
    }

    /// Ends the lease period: tokens of leases admitted in it are cancelled, their slots come back with
    /// [`Self::end_grace`].
    pub(crate) fn end_period(&self) {
        self.parked
            .lock()
            .expect("nothing panics under this lock")
            .get_or_insert(0);
        self.period.fetch_add(1, Ordering::AcqRel);
        self.fence.cancel();
    }

    /// The grace is over: what was cancelled has ended at the backend too.
    pub(crate) fn end_grace(&self) {
        let parked = self
            .parked
            .lock()
            .expect("nothing panics under this lock")
            .take();
        (0..parked.unwrap_or(0)).for_each(|_| self.give_back());
    }

    pub(crate) fn token(&self, period: u32) -> crate::fence::FenceToken {
        let token = self.fence.token();
        // The token first, then the period: a fence between the two is seen by one of them.
        if self.period.load(Ordering::Acquire) == period {
            token
        } else {
            crate::fence::FenceToken::cancelled_already()
        }
    }

    /// Whether refusals are news to the driver (share below target).
    pub(crate) fn set_hungry(&self, hungry: bool) {
        self.hungry.store(hungry, Ordering::Relaxed);
    }

    /// Whether the local estimator moves the ceiling.
    pub(crate) fn set_estimator_rules(&self, rules: bool) {
        self.estimator_rules.store(rules, Ordering::Relaxed);
    }

    /// The most in use since the last call.
    pub(crate) fn take_report_peak(&self) -> u32 {
        let (_, in_flight) = self.sample();
        self.hot
            .report_peak
            .swap(in_flight, Ordering::Relaxed)
            .max(in_flight)
    }

    /// What happened since the last call; else `waker` is woken when something does.
    pub(crate) fn poll_signals(&self, waker: &Waker) -> Option<Signals> {
        *self
            .listener
            .lock()
            .expect("nothing panics under this lock") = Some(waker.clone());
        match self.signals.swap(0, Ordering::AcqRel) {
            0 => None,
            bits => Some(Signals {
                starved: bits & STARVED != 0,
                drained: bits & DRAINED != 0,
            }),
        }
    }
}

#[inline]
fn raise(peak: &AtomicU32, to: u32) {
    if peak.load(Ordering::Relaxed) < to {
        peak.fetch_max(to, Ordering::Relaxed);
    }
}
