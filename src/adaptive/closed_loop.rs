//! The local guard in a loop with a model of a backend, in simulated time: what the steps of an algorithm add up to.
//!
//! The backend serves `capacity` requests at once, first come first served; the others queue. Service times are
//! 20 ms on average, exponentially distributed. Requests arrive at random (Poisson) at a multiple of what the backend
//! can serve; what the guard refuses is gone. The guard is the real one, on a manual clock.

use crate::adaptive::{Aimd, Algorithm, Gradient2, Limits, LocalGuard, Vegas};
use crate::criticality::Criticality;
use crate::permit::{ConcurrencyGuard, Lease, Outcome};
use crate::time::{Clock, LocalTime, ManualClock};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

struct World {
    name: &'static str,
    random: fastrand::Rng,
    lever: ManualClock,
    now: u64,
    guard: LocalGuard,
    /// What the backend serves at once.
    capacity: usize,
    /// Mean service time, in nanoseconds.
    service: f64,
    /// Arrivals, in multiples of what a backend of 50 slots and 20 ms can serve.
    load: f64,
    /// The part of the requests that fail at once.
    failing: f64,
    /// Requests beyond this many in the backend are refused by it.
    refuse_above: usize,
    queue: VecDeque<(f64, Lease)>,
    serving: BTreeMap<u64, Lease>,
    ends: BinaryHeap<Reverse<(u64, u64)>>,
    started: u64,
    arrival: u64,
    served: u64,
}

const MS: f64 = 1e6;

impl World {
    fn new(algorithm: impl Into<Algorithm>, capacity: usize) -> Self {
        let (clock, lever) = Clock::manual();
        let algorithm = algorithm.into();
        let name = algorithm.as_str();
        let guard = LocalGuard::builder(algorithm).clock(clock);
        Self {
            name,
            random: fastrand::Rng::with_seed(7),
            lever,
            now: 0,
            guard: guard.build().unwrap(),
            capacity,
            service: 20.0 * MS,
            load: 2.0,
            failing: 0.0,
            refuse_above: usize::MAX,
            queue: VecDeque::new(),
            serving: BTreeMap::new(),
            ends: BinaryHeap::new(),
            started: 0,
            arrival: 0,
            served: 0,
        }
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.random.f64()).ln() * mean
    }

    /// Lets `seconds` pass; answers the mean limit and what was served, in parts of the backend's capacity.
    fn run(&mut self, seconds: f64) -> (f64, f64) {
        let (begin, end) = (self.now, self.now + (seconds * 1e9) as u64);
        let (mut limits, mut arrivals) = (0.0, 0.0);
        self.served = 0;
        while self.now < end {
            let departure = self.ends.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            self.now = departure.min(self.arrival);
            self.lever.set(LocalTime::from_nanos(self.now));
            if departure <= self.arrival {
                self.depart();
            } else {
                self.arrive();
                limits += f64::from(self.guard.limit());
                arrivals += 1.0;
            }
            self.dispatch();
        }
        let could = (self.now - begin) as f64 / self.service * self.capacity as f64;
        (limits / arrivals, self.served as f64 / could)
    }

    fn arrive(&mut self) {
        let gap = 20.0 * MS / 50.0 / self.load;
        self.arrival = self.now + self.exponential(gap) as u64;
        let fails = self.random.f64() < self.failing;
        let Ok(lease) = self.guard.try_acquire(Criticality::Default) else {
            return;
        };
        if fails {
            lease.failure();
        } else if self.queue.len() + self.serving.len() >= self.refuse_above {
            lease.overload();
        } else {
            let work = self.exponential(1.0);
            self.queue.push_back((work, lease));
        }
    }

    fn depart(&mut self) {
        if let Some(Reverse((_, id))) = self.ends.pop()
            && let Some(lease) = self.serving.remove(&id)
        {
            lease.finish(Outcome::Success);
            self.served += 1;
        }
    }

    fn dispatch(&mut self) {
        while self.serving.len() < self.capacity
            && let Some((work, lease)) = self.queue.pop_front()
        {
            self.started += 1;
            let end = self.now + (work * self.service) as u64;
            self.ends.push(Reverse((end, self.started)));
            self.serving.insert(self.started, lease);
        }
    }
}

/// The algorithms that find a limit by latency.
fn starting_at(initial: u32) -> [Algorithm; 2] {
    let limits = Limits::new(1, initial, 1000).unwrap();
    [Vegas::new(limits).into(), Gradient2::new(limits).into()]
}

/// After `settle` seconds the limit is about the capacity, for 30 seconds, and little of that is wasted.
fn assert_found(world: &mut World, settle: f64) {
    world.run(settle);
    let (limit, goodput) = world.run(30.0);
    let part = limit / world.capacity as f64;
    let name = world.name;
    assert!(
        (0.8..2.0).contains(&part),
        "{name}: limit {part} x capacity"
    );
    assert!(goodput > 0.93, "{name}: served {goodput} of the capacity");
}

#[test]
fn the_limit_is_found_from_below_and_from_above() {
    for initial in [5, 20, 50, 200, 1000] {
        for algorithm in starting_at(initial) {
            assert_found(&mut World::new(algorithm, 50), 15.0);
        }
    }
}

#[test]
fn the_limit_follows_a_capacity_that_halves_and_doubles() {
    for algorithm in starting_at(20) {
        let mut world = World::new(algorithm, 50);
        assert_found(&mut world, 15.0);
        world.capacity = 25;
        assert_found(&mut world, 20.0);
        world.capacity = 50;
        assert_found(&mut world, 20.0);
    }
}

#[test]
fn a_backend_that_becomes_slower_without_queueing_is_not_taken_for_a_queue() {
    for algorithm in starting_at(20) {
        let mut world = World::new(algorithm, 50);
        assert_found(&mut world, 15.0);
        world.service = 40.0 * MS;
        assert_found(&mut world, 30.0);
    }
}

#[test]
fn one_percent_of_fast_failures_does_not_drag_the_limit() {
    for algorithm in starting_at(20) {
        let mut world = World::new(algorithm, 50);
        world.failing = 0.01;
        assert_found(&mut world, 15.0);
    }
}

#[test]
fn twenty_ms_of_lucky_traffic_does_not_collapse_it() {
    for algorithm in starting_at(20) {
        let mut world = World::new(algorithm, 50);
        assert_found(&mut world, 15.0);
        let before = world.guard.limit();
        world.service = 0.2 * MS;
        world.run(0.02);
        world.service = 20.0 * MS;
        let (limit, _) = world.run(3.0);
        assert!(limit > 0.7 * f64::from(before), "{limit} after {before}");
    }
}

#[test]
fn light_traffic_leaves_the_limit_alone() {
    for algorithm in starting_at(100) {
        let mut world = World::new(algorithm, 50);
        world.load = 0.3;
        let (limit, goodput) = world.run(60.0);
        assert_eq!(limit, 100.0);
        assert!((goodput - 0.3).abs() < 0.01);
    }
}

#[test]
fn drops_alone_lead_aimd_to_what_the_backend_takes() {
    for initial in [5, 400] {
        let limits = Limits::new(1, initial, 1000).unwrap();
        let mut world = World::new(Aimd::new(limits), 50);
        world.refuse_above = 60;
        assert_found(&mut world, 20.0);
    }
}
