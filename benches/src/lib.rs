//! Medians of interleaved slices: how two pieces of code compare on a machine that is doing other things too.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Runs `slices` slices of `length` calls of each candidate, one after the other, and answers the median cost of a call
/// in nanoseconds, in the order of the candidates. What disturbs the machine disturbs neighbouring slices alike.
pub fn medians<const N: usize>(
    slices: usize,
    length: u32,
    mut candidates: [&mut dyn FnMut(); N],
) -> [f64; N] {
    let mut costs: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(slices));
    for _ in 0..slices {
        for (candidate, costs) in candidates.iter_mut().zip(&mut costs) {
            costs.push(span(length, candidate).cost(length));
        }
    }
    costs.map(median)
}

/// As [`medians`], with two threads calling the same candidate at the same time; the cost is that of one call as its
/// thread sees it. Only slices count during which both really ran: the answer names the part that did.
pub fn medians_of_two<const N: usize>(
    slices: usize,
    length: u32,
    candidates: [&(dyn Fn() + Sync); N],
) -> ([f64; N], f64) {
    let arrived = AtomicUsize::new(0);
    // Spinning, so that both are awake when they start.
    let meet = || {
        let round = arrived.fetch_add(1, Ordering::AcqRel) / 2;
        while arrived.load(Ordering::Acquire) < 2 * (round + 1) {
            std::hint::spin_loop();
        }
    };
    let run = || {
        let mut spans: [Vec<Span>; N] = std::array::from_fn(|_| Vec::with_capacity(slices));
        for _ in 0..slices {
            for (candidate, spans) in candidates.iter().zip(&mut spans) {
                meet();
                spans.push(span(length, &mut || candidate()));
            }
        }
        spans
    };
    let (left, right) = std::thread::scope(|scope| {
        let other = scope.spawn(run);
        (run(), other.join().expect("a candidate does not panic"))
    });
    let mut together = 0;
    let costs = std::array::from_fn(|index| {
        let pairs = left[index].iter().zip(&right[index]);
        let overlapping: Vec<_> = pairs.filter(|(a, b)| a.overlaps(b)).collect();
        together += overlapping.len();
        let both = overlapping
            .iter()
            .flat_map(|(a, b)| [a.cost(length), b.cost(length)]);
        median(both.collect())
    });
    (costs, together as f64 / (N * slices) as f64)
}

/// When a slice ran.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: Instant,
    end: Instant,
}

impl Span {
    fn cost(self, length: u32) -> f64 {
        (self.end - self.start).as_nanos() as f64 / f64::from(length)
    }

    /// Whether both ran for nine tenths of the time of either.
    fn overlaps(&self, other: &Self) -> bool {
        let both = self
            .end
            .min(other.end)
            .saturating_duration_since(self.start.max(other.start));
        let longest = (self.end - self.start).max(other.end - other.start);
        both * 10 >= longest * 9
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn span(length: u32, call: &mut dyn FnMut()) -> Span {
    let start = Instant::now();
    for _ in 0..length {
        black_box(&mut *call)();
    }
    Span {
        start,
        end: Instant::now(),
    }
}

fn median(mut costs: Vec<f64>) -> f64 {
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 2).copied().unwrap_or(f64::NAN)
}
