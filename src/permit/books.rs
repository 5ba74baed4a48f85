//! The gate's books: what was counted, and the estimator that learns from it.

use crate::adaptive::Estimator;
use crate::permit::core::{Core, Status};
use crate::permit::tally::Totals;
use crate::sync::{Ordering, lock};
use crate::time::LocalTime;

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
        }
    }
}

impl Core {
    /// What the estimator of this process alone would allow.
    pub(crate) fn local_limit(&self) -> u32 {
        self.local_limit.load(Ordering::Relaxed)
    }

    /// Everything counted so far.
    pub(crate) fn totals(&self) -> Totals {
        let mut books = lock(&self.books);
        self.collect(&mut books);
        books.totals
    }

    /// Everything counted so far, and the most ever in use.
    pub(crate) fn totals_and_peak(&self) -> (Totals, u32) {
        let mut books = lock(&self.books);
        self.collect(&mut books);
        self.collect_peak(&mut books);
        (books.totals, books.peak)
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
            return;
        };
        let in_flight = self.collect_peak(&mut books);
        let peak = std::mem::replace(&mut books.window_peak, in_flight);
        books.window = Totals::default();
        let (ceiling, _) = self.sample();
        let limit = books.estimator.close(&seen, peak, ceiling);
        self.local_limit.store(limit, Ordering::Relaxed);
        self.window_ends_at(now.saturating_add(length));
        // Under the lock, so that whoever closes the gate or takes over the ceiling has the last word.
        let rules = self.estimator_rules.load(Ordering::Relaxed) && self.status() == Status::Open;
        let before = rules.then(|| self.move_ceiling(limit));
        drop(books);
        if before.is_some_and(|word| word.has_waiters()) {
            self.serve_waiters();
        }
    }

    fn window_ends_at(&self, at: LocalTime) {
        self.read
            .window_ends
            .store(at.as_nanos(), Ordering::Relaxed);
    }
}
