//! What taking and giving back a slot costs, against the least that it can cost.
//!
//! ```text
//! cargo run --release -p tidegate-bench --bin permit
//! ```
//!
//! The floor is what every such guard has to do: two readings of the boot-time clock, a compare-and-swap and a
//! subtraction on a shared word, one `Arc` cloned and dropped, one relaxed addition.
//! Each candidate is called through a pointer that the compiler cannot see through, which adds 1 to 2 ns to all.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidegate::adaptive::{Fixed, LocalGuard};
use tidegate::time::Clock;
use tidegate::{ConcurrencyGuard, Criticality};
use tidegate_bench::{medians, medians_of_two};

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
    fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::system(),
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

fn main() {
    if std::env::args().any(|word| word == "profile") {
        // For valgrind, which has no vDSO: the clock stands still.
        let guard = LocalGuard::with_clock(Fixed::new(100), Clock::manual().0);
        (0..1_000_000).for_each(|_| pass(&guard));
        return;
    }
    let guard = LocalGuard::fixed(100);
    let full = LocalGuard::fixed(0);
    let floor = Floor::new();
    let clock = Clock::system();

    let (slices, length) = (401, 20_000);
    let [least, cost, denied, reading] = medians(
        slices,
        length,
        [
            &mut || floor.pass(0),
            &mut || pass(&guard),
            &mut || pass(&full),
            &mut || {
                black_box(clock.now());
            },
        ],
    );
    println!("one thread, ns a call");
    println!("  a clock reading           {reading:7.1}");
    println!("  floor                     {least:7.1}");
    println!(
        "  try_acquire + success     {cost:7.1}   {:.2} x the floor",
        cost / least
    );
    println!(
        "  denied                    {denied:7.1}   {:.2} x the floor",
        denied / least
    );

    let ([shared, both], together) = medians_of_two(
        1001,
        4_000,
        [&|| floor.pass(MINE.with(|mine| *mine)), &|| pass(&guard)],
    );
    println!(
        "two threads on one guard, ns a call of each ({:.0} % of the slices overlapped)",
        100.0 * together
    );
    println!(
        "  floor                     {shared:7.1}   {:.2} x the floor of one thread",
        shared / least
    );
    println!(
        "  try_acquire + success     {both:7.1}   {:.2} x the floor of one thread",
        both / least
    );
}
