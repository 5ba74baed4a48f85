//! What taking and giving back a slot costs, against the least that it can cost.
//!
//! The floor is what every such guard has to do: two readings of the boot-time clock, a compare-and-swap and a
//! subtraction on a shared word, one `Arc` cloned and dropped, one relaxed addition.

use crate::slices::measure;
use crate::table::Table;
use crate::{Candidate, Clocks};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidegate::adaptive::{Fixed, LocalGuard};
use tidegate::time::Clock;
use tidegate::{ConcurrencyGuard, Criticality};

/// The parts of the floor, each on a cache line of its own.
#[derive(Debug)]
struct Floor {
    clock: Clock,
    word: Line,
    counted: Vec<Line>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Floor {
    fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            word: Line::default(),
            counted: (0..64).map(|_| Line::default()).collect(),
        })
    }

    #[inline]
    fn pass(self: &Arc<Self>, counted: usize) {
        let mut seen = self.word.0.load(Ordering::Relaxed);
        while let Err(now) =
            self.word
                .0
                .compare_exchange_weak(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed)
        {
            seen = now;
        }
        let since = self.clock.now();
        let held = black_box(Arc::clone(self));
        let spent = self.clock.now().since(since).as_nanos() as u64;
        self.counted[counted].0.fetch_add(spent, Ordering::Relaxed);
        self.word.0.fetch_sub(1, Ordering::AcqRel);
        drop(held);
    }
}

fn pass(guard: &impl ConcurrencyGuard) {
    if let Ok(lease) = guard.try_acquire(black_box(Criticality::Default)) {
        black_box(lease).success();
    }
}

thread_local!(static MINE: usize = {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) as usize & 63
});

/// Every candidate, for the table or a profiler.
#[must_use]
pub fn candidates(Clocks { guards: clock, .. }: &Clocks) -> Vec<Candidate<'static>> {
    let guard = |slots| LocalGuard::with_clock(Fixed::new(slots), clock.clone());
    let (guard, full) = (guard(100), guard(0));
    let busy = guard.clone();
    let floor = Floor::new(clock.clone());
    let shared = Arc::clone(&floor);
    let clock = clock.clone();
    vec![
        Candidate::new("a clock reading", move || clock.now()),
        Candidate::new("floor", move || floor.pass(0)),
        Candidate::new("acquire and release", move || pass(&guard))
            .times("floor")
            .at_most(1.15),
        Candidate::new("denied", move || pass(&full)).times("floor"),
        Candidate::on_two("floor, 2 threads", move || {
            shared.pass(MINE.with(|mine| *mine))
        })
        .times("floor"),
        Candidate::on_two("acquire and release, 2 threads", move || pass(&busy))
            .times("floor")
            .at_most(2.0),
    ]
}

/// Measures them.
#[must_use]
pub fn table() -> Table {
    Table::new("a slot alone", measure(501, candidates(&Clocks::ready())))
}
