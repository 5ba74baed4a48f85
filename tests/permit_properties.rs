//! Any sequence of what one can do with a guard and its leases, beside a model that counts on its fingers.
#![cfg(feature = "fleet")]

use proptest::prelude::*;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tidegate::adaptive::{LimitAlgorithm, LocalGuard, Window};
use tidegate::permit::Acquire;
use tidegate::time::{Clock, ManualClock};
use tidegate::{ConcurrencyGuard, Criticality, Lease, Outcome, Shed};

/// Each index is taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    TryAcquire(Criticality),
    Wait(Criticality),
    Poll(usize),
    StopWaiting(usize),
    Finish(usize, Outcome),
    ObserveAndDrop(usize, Outcome),
    Drop(usize),
    Limit(u32),
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let class = || prop::sample::select(&Criticality::ALL[..]);
    let outcome = || {
        prop::sample::select(vec![
            Outcome::Success,
            Outcome::Failure,
            Outcome::Overload,
            Outcome::Ignore,
        ])
    };
    let index = || 0..64_usize;
    let step = prop_oneof![
        30 => class().prop_map(Step::TryAcquire),
        20 => class().prop_map(Step::Wait),
        20 => index().prop_map(Step::Poll),
        6 => index().prop_map(Step::StopWaiting),
        20 => (index(), outcome()).prop_map(|(index, outcome)| Step::Finish(index, outcome)),
        6 => (index(), outcome()).prop_map(|(index, outcome)| Step::ObserveAndDrop(index, outcome)),
        6 => index().prop_map(Step::Drop),
        8 => (1..12_u32).prop_map(Step::Limit),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 1..200)
}

/// A limit set by hand.
#[derive(Debug)]
struct Dial(Arc<AtomicU32>);

impl LimitAlgorithm for Dial {
    fn limit(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn update(&mut self, _: &Window) -> u32 {
        self.limit()
    }
}

/// What the documentation of the classes says.
fn cap(limit: u32, class: Criticality) -> u32 {
    match class {
        Criticality::Critical | Criticality::Default => limit,
        Criticality::Sheddable => (limit * 7).div_ceil(8),
        Criticality::Bulk => limit.div_ceil(2),
    }
}

struct Waiter {
    class: Criticality,
    future: Pin<Box<Acquire>>,
    handed: bool,
}

struct World {
    guard: LocalGuard,
    dial: Arc<AtomicU32>,
    lever: ManualClock,
    leases: Vec<Lease>,
    waiters: Vec<Waiter>,
    closed: bool,
    limit: u32,
    outcomes: [u64; 4],
    sheds: u64,
}

impl World {
    fn new() -> Self {
        let (clock, lever) = Clock::manual();
        let dial = Arc::new(AtomicU32::new(3));
        let builder = LocalGuard::builder(Dial(Arc::clone(&dial))).clock(clock);
        Self {
            guard: builder.min_samples(1).build().unwrap(),
            dial,
            lever,
            leases: Vec::new(),
            waiters: Vec::new(),
            closed: false,
            limit: 3,
            outcomes: [0; 4],
            sheds: 0,
        }
    }

    fn in_flight(&self) -> u32 {
        let handed = self.waiters.iter().filter(|waiter| waiter.handed);
        (self.leases.len() + handed.count()) as u32
    }

    /// The first of those who wait, by class and then arrival.
    fn first(&self) -> Option<usize> {
        let waiting = self
            .waiters
            .iter()
            .enumerate()
            .filter(|(_, waiter)| !waiter.handed);
        waiting
            .min_by_key(|(index, waiter)| (waiter.class, *index))
            .map(|(index, _)| index)
    }

    /// Hands out what is free.
    fn serve(&mut self) {
        while let Some(first) = self.first()
            && self.in_flight() < cap(self.limit, self.waiters[first].class)
        {
            self.waiters[first].handed = true;
        }
    }

    fn is_free(&self, class: Criticality) -> bool {
        let behind = self
            .first()
            .is_some_and(|first| self.waiters[first].class <= class);
        self.in_flight() < cap(self.limit, class) && !behind
    }

    fn settled(&mut self, outcome: Outcome) {
        self.outcomes[outcome as usize] += 1;
        self.serve();
    }

    fn step(&mut self, step: &Step) {
        let mut context = Context::from_waker(Waker::noop());
        match *step {
            Step::TryAcquire(class) => match (self.is_free(class), self.guard.try_acquire(class)) {
                (true, Ok(lease)) => self.leases.push(lease),
                (false, Err(_)) => self.sheds += 1,
                (free, answer) => panic!("free: {free}, but {answer:?}"),
            },
            Step::Wait(class) => {
                let free = self.is_free(class);
                let mut future = Box::pin(self.guard.acquire(class, Duration::from_secs(9)));
                match future.as_mut().poll(&mut context) {
                    Poll::Ready(Ok(lease)) if free => self.leases.push(lease),
                    Poll::Ready(Err(Shed::Closed)) if self.closed => self.sheds += 1,
                    Poll::Pending if !free && !self.closed => self.waiters.push(Waiter {
                        class,
                        future,
                        handed: false,
                    }),
                    answer => panic!("free: {free}, but {answer:?}"),
                }
            }
            Step::Poll(index) if !self.waiters.is_empty() => {
                let index = index % self.waiters.len();
                let waiter = &mut self.waiters[index];
                match waiter.future.as_mut().poll(&mut context) {
                    Poll::Ready(Ok(lease)) if waiter.handed => self.leases.push(lease),
                    Poll::Ready(Err(Shed::Closed)) if self.closed && !waiter.handed => {
                        self.sheds += 1
                    }
                    Poll::Pending if !waiter.handed && !self.closed => return,
                    answer => panic!("handed: {}, but {answer:?}", waiter.handed),
                }
                self.waiters.remove(index);
            }
            Step::StopWaiting(index) if !self.waiters.is_empty() => {
                let waiter = self.waiters.remove(index % self.waiters.len());
                drop(waiter.future);
                if waiter.handed {
                    self.settled(Outcome::Ignore);
                }
            }
            Step::Finish(index, outcome) if !self.leases.is_empty() => {
                let lease = self.leases.swap_remove(index % self.leases.len());
                lease.finish(outcome);
                self.settled(outcome);
            }
            Step::ObserveAndDrop(index, outcome) if !self.leases.is_empty() => {
                let mut lease = self.leases.swap_remove(index % self.leases.len());
                lease.observe(outcome);
                assert_eq!(
                    self.guard.in_flight(),
                    self.in_flight() + 1,
                    "the slot is still in use"
                );
                lease.observe(Outcome::Overload);
                drop(lease);
                self.settled(outcome);
            }
            Step::Drop(index) if !self.leases.is_empty() => {
                drop(self.leases.swap_remove(index % self.leases.len()));
                self.settled(Outcome::Ignore);
            }
            Step::Limit(limit) if !self.leases.is_empty() && !self.closed => {
                // A sample at the end of a window, which lasts 5 s at most, moves the limit before its slot comes back.
                self.dial.store(limit, Ordering::Relaxed);
                self.lever.advance(Duration::from_secs(6));
                self.leases[0].observe(Outcome::Success);
                self.limit = limit;
                self.serve();
                drop(self.leases.swap_remove(0));
                self.settled(Outcome::Success);
            }
            Step::Close => {
                self.guard.close();
                self.closed = true;
                self.limit = 0;
            }
            _ => {}
        }
    }

    fn check(&self) {
        let stats = self.guard.stats();
        assert_eq!(
            (stats.limit(), stats.in_flight()),
            (self.limit, self.in_flight())
        );
        let outcomes = [
            Outcome::Success,
            Outcome::Failure,
            Outcome::Overload,
            Outcome::Ignore,
        ];
        assert_eq!(
            outcomes.map(|outcome| stats.outcomes(outcome)),
            self.outcomes
        );
        assert_eq!(
            Shed::ALL
                .iter()
                .map(|reason| stats.sheds(*reason))
                .sum::<u64>(),
            self.sheds
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_guard_does_what_the_model_does(steps in steps()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let _inside = runtime.enter();
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.leases.clear();
        world.waiters.clear();
        assert_eq!(world.guard.in_flight(), 0, "everything came back");
    }
}
