//! Medians of interleaved slices: how pieces of code compare on a machine that is doing other things too.

use crate::table::{Against, Row};
use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use std::time::Instant;

/// Something to measure, what to hold it against, and the bar.
pub struct Candidate<'a> {
    name: &'static str,
    run: Run<'a>,
    against: Against,
    bar: Option<f64>,
}

enum Run<'a> {
    One(Box<dyn FnMut(u32) + 'a>),
    Two(Shared<'a>),
}

type Shared<'a> = Arc<dyn Fn(u32) + Send + Sync + 'a>;

impl<'a> Candidate<'a> {
    /// `call` is measured.
    pub fn new<T>(name: &'static str, mut call: impl FnMut() -> T + 'a) -> Self {
        Self::batch(name, move |calls| {
            for _ in 0..calls {
                black_box(call());
            }
        })
    }

    /// `run` makes as many calls as it is told.
    pub fn batch(name: &'static str, run: impl FnMut(u32) + 'a) -> Self {
        Self::of(name, Run::One(Box::new(run)))
    }

    /// `call` is measured on two threads at once.
    pub fn on_two<T>(name: &'static str, call: impl Fn() -> T + Send + Sync + 'a) -> Self {
        let run = move |calls| {
            for _ in 0..calls {
                black_box(call());
            }
        };
        Self::of(name, Run::Two(Arc::new(run)))
    }

    fn of(name: &'static str, run: Run<'a>) -> Self {
        Self {
            name,
            run,
            against: Against::Nothing,
            bar: None,
        }
    }

    /// Told as the part of `base` that it takes more than `base`.
    #[must_use]
    pub const fn over(mut self, base: &'static str) -> Self {
        self.against = Against::Over(base);
        self
    }

    /// Told as a multiple of `base`.
    #[must_use]
    pub const fn times(mut self, base: &'static str) -> Self {
        self.against = Against::Times(base);
        self
    }

    /// What it should not exceed.
    #[must_use]
    pub const fn at_most(mut self, bar: f64) -> Self {
        self.bar = Some(bar);
        self
    }

    /// What it is called.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Makes `calls` calls unmeasured, on one thread. A frame of its own, for profilers to begin at.
    #[inline(never)]
    pub fn run(&mut self, calls: u32) {
        match &mut self.run {
            Run::One(run) => run(calls),
            Run::Two(run) => run(calls),
        }
    }

    /// What it costs, and what that is held against.
    #[must_use]
    pub const fn row(&self, cost: f64) -> Row {
        Row {
            name: self.name,
            cost,
            against: self.against,
            bar: self.bar,
        }
    }
}

impl fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Runs `slices` slices of about 100 µs of each candidate, one after the other, and answers the median cost of a call
/// of each. What disturbs the machine disturbs neighbouring slices alike.
#[must_use]
pub fn measure(slices: usize, mut candidates: Vec<Candidate<'_>>) -> Vec<Row> {
    let lengths: Vec<u32> = candidates.iter_mut().map(length).collect();
    let mut costs = vec![Vec::with_capacity(slices); candidates.len()];
    std::thread::scope(|scope| {
        let partner = Partner::new(scope);
        for _ in 0..slices {
            for ((candidate, &length), costs) in candidates.iter_mut().zip(&lengths).zip(&mut costs)
            {
                match &mut candidate.run {
                    Run::One(run) => {
                        // The first calls find the caches as the neighbour has left them.
                        run(length / 8);
                        costs.push(span(length, run).cost(length));
                    }
                    Run::Two(run) => costs.extend(partner.both(length, run)),
                }
            }
        }
        // On a busy machine two threads seldom run at once: they get some more tries.
        for ((candidate, &length), costs) in candidates.iter().zip(&lengths).zip(&mut costs) {
            let Run::Two(run) = &candidate.run else {
                continue;
            };
            for _ in 0..20 * slices {
                if costs.len() >= slices / 2 {
                    break;
                }
                costs.extend(partner.both(length, run));
            }
        }
    });
    let rows = candidates.iter().zip(costs);
    rows.map(|(candidate, costs)| candidate.row(median(costs)))
        .collect()
}

/// How many calls take about 100 µs: short beside the time a scheduler gives to others, long beside a clock reading.
fn length(candidate: &mut Candidate<'_>) -> u32 {
    candidate.run(1_000);
    let trials = (0..9).map(|_| span(100, &mut |calls| candidate.run(calls)).cost(100));
    (100_000.0 / median(trials.collect()).max(1.0)).max(16.0) as u32
}

/// The second thread: one for all slices, since threads are told apart by what is measured.
struct Partner<'a> {
    tasks: Sender<(Shared<'a>, u32)>,
    spans: Receiver<Span>,
    met: Arc<AtomicUsize>,
}

impl<'a> Partner<'a> {
    fn new<'scope>(scope: &'scope Scope<'scope, '_>) -> Self
    where
        'a: 'scope,
    {
        let (tasks, inbox) = channel::<(Shared<'a>, u32)>();
        let (outbox, spans) = channel();
        let met = Arc::new(AtomicUsize::new(0));
        let meeting = Arc::clone(&met);
        scope.spawn(move || {
            for (run, length) in inbox {
                if outbox.send(slice(&meeting, length, &run)).is_err() {
                    return;
                }
            }
        });
        Self { tasks, spans, met }
    }

    /// The costs that two threads see which make the same calls at the same time; none if one of them had to wait.
    fn both(&self, length: u32, run: &Shared<'a>) -> Vec<f64> {
        let task = (Arc::clone(run), length);
        self.tasks.send(task).expect("the partner waits for tasks");
        let mine = slice(&self.met, length, run);
        let other = self.spans.recv().expect("a candidate does not panic");
        if mine.overlaps(&other) {
            vec![mine.cost(length), other.cost(length)]
        } else {
            Vec::new()
        }
    }
}

/// One thread's slice, begun when both are there.
fn slice(met: &AtomicUsize, length: u32, run: &Shared<'_>) -> Span {
    // Spinning, so that both are awake when they start.
    let round = met.fetch_add(1, Ordering::AcqRel) / 2;
    while met.load(Ordering::Acquire) < 2 * (round + 1) {
        std::hint::spin_loop();
    }
    run(length / 8);
    span(length, &mut |calls| run(calls))
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
fn span(length: u32, run: &mut dyn FnMut(u32)) -> Span {
    let start = Instant::now();
    run(length);
    Span {
        start,
        end: Instant::now(),
    }
}

fn median(mut costs: Vec<f64>) -> f64 {
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 2).copied().unwrap_or(f64::NAN)
}
