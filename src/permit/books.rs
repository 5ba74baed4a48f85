//! The gate's books: what was counted, and the estimator that learns from it.

use crate::adaptive::Estimator;
use crate::observe::{self, Reading};
use crate::permit::Shed;
use crate::permit::core::{Core, Status};
use crate::permit::tally::Totals;
use crate::sync::{MutexGuard, Ordering, lock};
use crate::time::LocalTime;
use std::time::Duration;

/// What is settled at leisure, by one at a time.
#[derive(Debug)]
pub(crate) struct Books {
    /// Since the gate was made.
    totals: Totals,
    /// Since the window began.
    window: Totals,
    /// The most in use since the window began.
    window_peak: u32,
    /// The most in use since the last report.
    report_peak: u32,
    /// The most in use since the gate was made.
    peak: u32,
    estimator: Estimator,
    told: Told,
}

/// What operators have been told.
#[derive(Debug, Default)]
struct Told {
    totals: Totals,
    admitted: u64,
    /// Refusals of the last event, and when that was.
    shed: [u64; Shed::ALL.len()],
    shed_at: Option<LocalTime>,
}

impl Books {
    pub(super) fn new(estimator: Estimator) -> Self {
        Self {
            totals: Totals::default(),
            window: Totals::default(),
            window_peak: 0,
            report_peak: 0,
            peak: 0,
            estimator,
            told: Told::default(),
        }
    }

    /// What operators have not been told yet.
    fn reading(&mut self, (ceiling, in_flight): (u32, u32), now: LocalTime) -> Reading {
        let told = &mut self.told;
        let counted = self.totals.since(&told.totals);
        let admitted = self.totals.completions() + u64::from(in_flight);
        let shed = self.totals.sheds;
        let due = shed != told.shed
            && told
                .shed_at
                .is_none_or(|at| now.since(at) >= SHED_EVENTS_APART);
        let reading = Reading {
            counted,
            // A slot that came back between the two counts is told next time.
            admitted: admitted.saturating_sub(told.admitted),
            ceiling,
            in_flight,
            shed: due.then(|| std::array::from_fn(|reason| shed[reason] - told.shed[reason])),
        };
        told.totals = self.totals;
        told.admitted = told.admitted.max(admitted);
        if due {
            told.shed = shed;
            told.shed_at = Some(now);
        }
        reading
    }
}

const SHED_EVENTS_APART: Duration = Duration::from_secs(1);

impl Core {
    /// The latency of an unloaded backend, if the estimator keeps one.
    #[cfg(feature = "fleet")]
    pub(crate) fn baseline(&self) -> Option<Duration> {
        lock(&self.books).estimator.baseline()
    }

    /// What the estimator of this process alone would allow.
    pub(crate) fn local_limit(&self) -> u32 {
        self.local_limit.load(Ordering::Relaxed)
    }

    /// Lets the estimator go on from `limit`, with a new window.
    #[cfg(feature = "fleet")]
    pub(crate) fn begin_local_at(&self, limit: u32) {
        let mut books = lock(&self.books);
        self.collect(&mut books);
        books.window = Totals::default();
        // What was in flight under the limit of before says nothing of this one.
        books.window_peak = self.collect_peak(&mut books);
        let limit = books.estimator.begin_at(limit);
        self.local_limit.store(limit, Ordering::Relaxed);
        self.publish(books);
    }

    /// Everything counted so far.
    pub(crate) fn totals(&self) -> Totals {
        let mut books = lock(&self.books);
        self.collect(&mut books);
        let totals = books.totals;
        self.publish(books);
        totals
    }

    /// Everything counted so far, and the most ever in use.
    pub(crate) fn totals_and_peak(&self) -> (Totals, u32) {
        let mut books = lock(&self.books);
        self.collect(&mut books);
        self.collect_peak(&mut books);
        let counted = (books.totals, books.peak);
        self.publish(books);
        counted
    }

    /// Tells operators what happened, unless somebody else is at the books.
    #[cold]
    #[inline(never)]
    pub(super) fn tell(&self) {
        if let Ok(mut books) = self.books.try_lock() {
            self.collect(&mut books);
            self.publish(books);
        }
    }

    /// Closes the books, and tells operators what is new in them.
    fn publish(&self, mut books: MutexGuard<'_, Books>) {
        let reading = self.read_out(&mut books);
        drop(books);
        self.report(reading.as_ref());
    }

    fn read_out(&self, books: &mut Books) -> Option<Reading> {
        observe::ON.then(|| books.reading(self.sample(), self.read.clock.now()))
    }

    /// Not under the books' lock: recorders and subscribers are the user's.
    fn report(&self, reading: Option<&Reading>) {
        if let Some(reading) = reading {
            observe::gate(&self.name, reading);
        }
    }

    /// The most in use since the last call.
    pub(crate) fn take_report_peak(&self) -> u32 {
        let mut books = lock(&self.books);
        let in_flight = self.collect_peak(&mut books);
        std::mem::replace(&mut books.report_peak, in_flight)
    }

    /// Whether the local estimator moves the ceiling. Once this has returned from `false`, it does not.
    pub(crate) fn set_estimator_rules(&self, rules: bool) {
        let _books = lock(&self.books);
        self.estimator_rules.store(rules, Ordering::Relaxed);
    }

    fn collect(&self, books: &mut Books) {
        let fresh = self.tally.drain();
        books.totals.add(&fresh);
        books.window.add(&fresh);
    }

    /// Brings both peaks up to date; answers what is in use now, where the next ones start.
    fn collect_peak(&self, books: &mut Books) -> u32 {
        let peak = self.read.peak.swap(0, Ordering::Relaxed);
        // After the swap: whoever took a slot since then has raised the peak again, or is in this sample.
        let (_, in_flight) = self.sample();
        self.read.peak.fetch_max(in_flight, Ordering::Relaxed);
        let peak = peak.max(in_flight);
        books.window_peak = books.window_peak.max(peak);
        books.report_peak = books.report_peak.max(peak);
        books.peak = books.peak.max(peak);
        in_flight
    }

    /// Closes the window that ended, if there is enough in it.
    #[cold]
    #[inline(never)]
    pub(super) fn close_window(&self, now: LocalTime) {
        // Whoever comes second finds the window closed by the first.
        let Ok(mut books) = self.books.try_lock() else {
            return;
        };
        if now.as_nanos() < self.read.window_ends.load(Ordering::Relaxed) {
            return;
        }
        self.collect(&mut books);
        let seen = books.window;
        let Some(length) = self.window.next(&seen) else {
            // Too few to say anything: the window goes on.
            self.window_ends_at(now.saturating_add(self.window.length / 4));
            return self.publish(books);
        };
        let in_flight = self.collect_peak(&mut books);
        let peak = std::mem::replace(&mut books.window_peak, in_flight);
        books.window = Totals::default();
        let (ceiling, _) = self.sample();
        let limit = books.estimator.close(&seen, peak, ceiling);
        self.local_limit.store(limit, Ordering::Relaxed);
        if let Some(mean) = seen.success_us.checked_div(seen.successes) {
            self.mean_us.store(mean.max(1), Ordering::Relaxed);
        }
        self.window_ends_at(now.saturating_add(length));
        // Under the lock, so that whoever closes the gate or takes over the ceiling has the last word.
        let rules = self.estimator_rules.load(Ordering::Relaxed) && self.status() == Status::Open;
        let before = rules.then(|| self.move_ceiling(limit));
        let reading = self.read_out(&mut books);
        drop(books);
        if before.is_some_and(|word| word.has_waiters()) {
            self.serve_waiters();
        }
        self.report(reading.as_ref());
    }

    fn window_ends_at(&self, at: LocalTime) {
        self.read
            .window_ends
            .store(at.as_nanos(), Ordering::Relaxed);
    }
}
