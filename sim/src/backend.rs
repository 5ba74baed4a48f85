//! The backend: what it does with a request depends on how many it has, and nobody tells it who sent them.
//!
//! All models are one: a job in service has so much left to do, all jobs progress at the same rate, and the rate depends
//! on how many there are. A FIFO with C servers keeps the rate at 1 and makes the others wait.

use crate::engine::Nanos;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// How service slows down with m, the jobs in service divided by the capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Model {
    /// C servers, the rest waits its turn.
    Fifo,
    /// C processors shared by all: slower by m beyond the knee, throughput stays.
    Sharing,
    /// Slower by 1 + slope (m - 1) beyond the knee.
    Linear { slope: f64 },
    /// Slower by exp(growth (m - 1)) beyond the knee.
    Exponential { growth: f64 },
    /// Gunther's universal scalability law in m: beyond the knee the throughput itself falls, to
    /// C / (1 + contention (m - 1) + coherency m (m - 1)).
    Usl { contention: f64, coherency: f64 },
}

impl Model {
    /// The rate of each of `jobs` jobs at `capacity`.
    fn rate(self, jobs: usize, capacity: f64) -> f64 {
        let m = jobs as f64 / capacity;
        if self == Self::Fifo || m <= 1.0 {
            return 1.0;
        }
        match self {
            Self::Fifo => 1.0,
            Self::Sharing => 1.0 / m,
            Self::Linear { slope } => 1.0 / (1.0 + slope * (m - 1.0)),
            Self::Exponential { growth } => (growth * (1.0 - m)).exp(),
            Self::Usl {
                contention,
                coherency,
            } => 1.0 / (m * (1.0 + contention * (m - 1.0) + coherency * m * (m - 1.0))),
        }
    }
}

/// The backend did not take a request: its queue is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Refused;

#[derive(Debug)]
pub(crate) struct Backend {
    model: Model,
    /// How many may wait, or be in service beyond the capacity.
    queue: Option<u32>,
    capacity: f64,
    stalled: bool,
    now: Nanos,
    /// What a job that began at time zero would have done by now, in nanoseconds of service.
    progress: f64,
    running: BinaryHeap<Job>,
    waiting: VecDeque<(u32, Work)>,
}

/// What a request needs, in nanoseconds of service when nothing slows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Until the head of the answer.
    pub(crate) head: f64,
    /// From there until the end of its body, in the same place.
    pub(crate) body: f64,
}

/// How far the backend is with a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Done {
    /// The head of the answer is on its way, and the body follows.
    Head(u32),
    Whole(u32),
}

#[derive(Debug)]
struct Job {
    /// The progress at which it, or the head of its answer, is done.
    done_at: f64,
    request: u32,
    body: f64,
}

impl Backend {
    pub(crate) fn new(model: Model, queue: Option<u32>, capacity: f64) -> Self {
        Self {
            model,
            queue,
            capacity,
            stalled: false,
            now: 0,
            progress: 0.0,
            running: BinaryHeap::new(),
            waiting: VecDeque::new(),
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    /// Takes a request. Call [`Self::advance`] first.
    pub(crate) fn offer(&mut self, request: u32, work: Work) -> Result<(), Refused> {
        let room = |queue| (self.in_flight() as f64) < self.servers() as f64 + f64::from(queue);
        if self.queue.is_some_and(|queue| !room(queue)) {
            return Err(Refused);
        }
        self.waiting.push_back((request, work));
        self.start();
        Ok(())
    }

    /// Lets time pass until `now`, and tells who is done by then, or has answered.
    pub(crate) fn advance(&mut self, now: Nanos, done: &mut Vec<Done>) {
        while let Some(next) = self.next()
            && next <= now
        {
            self.pass(next);
            let job = self.running.pop().expect("next() was its end");
            // Rounding to whole nanoseconds must not let it run late.
            self.progress = self.progress.max(job.done_at);
            if job.body > 0.0 {
                done.push(Done::Head(job.request));
                self.running.push(Job {
                    done_at: job.done_at + job.body,
                    body: 0.0,
                    ..job
                });
                continue;
            }
            done.push(Done::Whole(job.request));
            self.start();
        }
        self.pass(now);
    }

    /// When the next job will be done, if nothing changes.
    pub(crate) fn next(&self) -> Option<Nanos> {
        let job = self.running.peek()?;
        let rate = self.rate();
        let left = (job.done_at - self.progress).max(0.0);
        // So far beyond its knee that this does not end within the clock is as good as stalled.
        let wait = (rate > 0.0).then(|| (left / rate).ceil() as Nanos)?;
        self.now.checked_add(wait)
    }

    /// Call [`Self::advance`] first.
    pub(crate) fn set_capacity(&mut self, capacity: f64) {
        self.capacity = capacity;
        self.start();
    }

    /// Call [`Self::advance`] first.
    pub(crate) fn set_stalled(&mut self, stalled: bool) {
        self.stalled = stalled;
    }

    fn pass(&mut self, now: Nanos) {
        self.progress += (now - self.now) as f64 * self.rate();
        self.now = now;
    }

    fn rate(&self) -> f64 {
        if self.stalled || self.capacity <= 0.0 {
            0.0
        } else {
            self.model.rate(self.running.len(), self.capacity)
        }
    }

    fn servers(&self) -> usize {
        self.capacity.round() as usize
    }

    fn start(&mut self) {
        let most = match self.model {
            Model::Fifo => self.servers(),
            Model::Sharing
            | Model::Linear { .. }
            | Model::Exponential { .. }
            | Model::Usl { .. } => usize::MAX,
        };
        while self.running.len() < most
            && let Some((request, work)) = self.waiting.pop_front()
        {
            self.running.push(Job {
                done_at: self.progress + work.head,
                request,
                body: work.body,
            });
        }
    }
}

impl Ord for Job {
    /// The heap gives its greatest: who is done first.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .done_at
            .total_cmp(&self.done_at)
            .then(other.request.cmp(&self.request))
    }
}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Job {}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(service: f64) -> Work {
        Work {
            head: service,
            body: 0.0,
        }
    }

    /// When each of the requests, all there from the start, is done.
    fn ends(backend: &mut Backend, services: &[f64]) -> Vec<(u32, Nanos)> {
        for (request, service) in (0..).zip(services) {
            backend.offer(request, whole(*service)).unwrap();
        }
        let ends = steps(backend).into_iter();
        ends.map(|(done, at)| match done {
            Done::Whole(request) => (request, at),
            Done::Head(_) => unreachable!("none has a body"),
        })
        .collect()
    }

    /// All that happens until nobody is there.
    fn steps(backend: &mut Backend) -> Vec<(Done, Nanos)> {
        let mut steps = Vec::new();
        while let Some(at) = backend.next() {
            let mut done = Vec::new();
            backend.advance(at, &mut done);
            steps.extend(done.into_iter().map(|done| (done, at)));
        }
        steps
    }

    #[test]
    fn a_body_goes_on_in_the_place_of_its_head_and_the_next_one_waits_for_its_end() {
        let mut backend = Backend::new(Model::Fifo, None, 1.0);
        for request in 0..2 {
            let (head, body) = (10.0, 90.0);
            backend.offer(request, Work { head, body }).unwrap();
        }
        let (head, end) = (Done::Head, Done::Whole);
        assert_eq!(
            steps(&mut backend),
            [(head(0), 10), (end(0), 100), (head(1), 110), (end(1), 200)]
        );
    }

    #[test]
    fn two_servers_serve_two_at_a_time_in_order() {
        let mut backend = Backend::new(Model::Fifo, None, 2.0);
        let ends = ends(&mut backend, &[100.0, 30.0, 50.0, 10.0]);
        assert_eq!(ends, [(1, 30), (2, 80), (3, 90), (0, 100)]);
    }

    #[test]
    fn a_shared_processor_slows_everybody() {
        let mut backend = Backend::new(Model::Sharing, None, 1.0);
        // Both at half speed until 60, then the longer one alone for its last 20.
        assert_eq!(ends(&mut backend, &[30.0, 50.0]), [(0, 60), (1, 80)]);
    }

    #[test]
    fn a_stall_stops_all_and_loses_nothing() {
        let mut backend = Backend::new(Model::Fifo, None, 1.0);
        backend.offer(0, whole(100.0)).unwrap();
        let mut done = Vec::new();
        backend.advance(40, &mut done);
        backend.set_stalled(true);
        assert_eq!(backend.next(), None);
        backend.advance(90, &mut done);
        backend.set_stalled(false);
        assert_eq!((backend.next(), done.len()), (Some(150), 0));
    }

    #[test]
    fn a_backend_far_beyond_its_knee_ends_nothing_before_it_recovers() {
        let mut backend = Backend::new(Model::Exponential { growth: 100.0 }, None, 1.0);
        (0..3).for_each(|request| backend.offer(request, whole(100.0)).unwrap());
        let mut done = Vec::new();
        backend.advance(1_000_000_000, &mut done);
        assert_eq!((backend.next(), done.len()), (None, 0));
        backend.set_capacity(3.0);
        assert_eq!(backend.next(), Some(1_000_000_100));
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut backend = Backend::new(Model::Fifo, Some(1), 1.0);
        assert_eq!(backend.offer(0, whole(9.0)), Ok(()));
        assert_eq!(backend.offer(1, whole(9.0)), Ok(()));
        assert_eq!(backend.offer(2, whole(9.0)), Err(Refused));
    }

    #[test]
    fn servers_that_are_taken_away_finish_what_they_do() {
        let mut backend = Backend::new(Model::Fifo, None, 2.0);
        (0..3).for_each(|request| backend.offer(request, whole(100.0)).unwrap());
        let mut done = Vec::new();
        backend.advance(50, &mut done);
        backend.set_capacity(1.0);
        backend.advance(100, &mut done);
        assert_eq!(
            (done.len(), backend.in_flight(), backend.next()),
            (2, 1, Some(200))
        );
    }

    #[test]
    fn throughput_beyond_the_knee_is_what_the_model_says() {
        let throughput = |model: Model, m: usize| model.rate(100 * m, 100.0) * m as f64;
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        close(throughput(Model::Sharing, 4), 1.0);
        close(throughput(Model::Linear { slope: 2.0 }, 3), 0.6);
        close(
            throughput(Model::Exponential { growth: 1.0 }, 2),
            2.0 / std::f64::consts::E,
        );
        // 1 / (1 + 0.1 + 0.2 * 2)
        let usl = Model::Usl {
            contention: 0.1,
            coherency: 0.2,
        };
        close(throughput(usl, 2), 1.0 / 1.5);
        for model in [Model::Fifo, Model::Sharing, usl] {
            close(model.rate(100, 100.0), 1.0);
        }
    }
}
