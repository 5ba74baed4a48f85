//! Gateways that are told nothing of their backend, whose capacity halves and comes back, under twice what it can take.
//!
//! What is in flight is held against the limits that the store has committed, each from the moment it was written. A lower
//! one is kept by all as soon as nobody's lease is older and what was admitted before has ended: a ttl and a drain later
//! at the latest, and that is promised. A gateway that can hear of it does within a heartbeat, so where nothing is wrong a
//! second is enough; how often it was not is measured beside.

use crate::arrivals::{Arrivals, Told};
use crate::clock::{now, pause};
use crate::committed::{Committed, HEARD};
use crate::gateway::Gateway;
use crate::load::Load;
use crate::machine::{Processor, load_average};
use std::time::{Duration, Instant};
use tidegate_test_support::{Backend, RedisServer};

/// How many, how much, how long.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Gateways, of which the n-th gets an n-th of what the first gets.
    pub gateways: u32,
    /// What the backend serves at once.
    pub capacity: usize,
    /// How long it takes.
    pub service: Duration,
    /// How long requests wait in the gateways' micro-queues at most, if they have any.
    pub queue: Option<Duration>,
    /// How long the fleet looks for the limit before anything is held against it.
    pub looking: Duration,
    /// How long each of the three phases takes.
    pub phase: Duration,
    /// How long the backend is measured without gateways, and with them but without load.
    pub alone: Duration,
}

/// What was seen of a phase.
#[derive(Clone, Debug)]
pub struct Phase {
    /// What it is called.
    pub name: &'static str,
    /// What the backend served at once.
    pub capacity: usize,
    /// When it began; it went on until the next one did.
    pub started: Instant,
    /// How long it was looked at.
    pub took: Duration,
    /// What became of the requests.
    pub told: Told,
    /// Served a second by the backend alone; 0 if that was not measured.
    pub possible: f64,
    /// The most in flight at the backend.
    pub most: usize,
    /// The lowest and the highest limit that the store held.
    pub limits: (usize, usize),
    /// Tenths of a second in which more was in flight than any limit that the store held within [`PROMISED`] before.
    pub above: usize,
    /// The same, within [`USUAL`] before.
    pub late: usize,
    /// Processor time used by the whole machine, in percent.
    pub used: Option<f64>,
    /// Processor time used by gateways, backend and load, in percent of the whole machine.
    pub used_by_us: Option<f64>,
    /// The machine's load average at the end.
    pub load: Option<f64>,
}

/// All phases, in order.
#[derive(Clone, Debug)]
pub struct Followed {
    /// At a twentieth of what the backend can take.
    pub unloaded: Phase,
    /// While the limit is looked for.
    pub looking: Phase,
    /// At full capacity, at half, and at full again.
    pub phases: Vec<Phase>,
}

/// How long something may be in flight under a limit that was lowered: the ttl and the drain of a gateway by default.
pub const PROMISED: Duration = Duration::from_secs(3);
/// How long that is where the store answers and the machine has time: a heartbeat, and as long again for what runs.
pub const USUAL: Duration = Duration::from_secs(1);

impl Setup {
    /// Eight gateways for a minute.
    #[must_use]
    pub const fn eight() -> Self {
        Self {
            gateways: 8,
            capacity: 64,
            service: Duration::from_millis(20),
            queue: None,
            looking: Duration::from_secs(15),
            phase: Duration::from_secs(20),
            alone: Duration::from_secs(4),
        }
    }

    /// Four for a few seconds, little enough for any machine.
    #[must_use]
    pub const fn short() -> Self {
        Self {
            gateways: 4,
            capacity: 16,
            service: Duration::from_millis(50),
            queue: None,
            looking: Duration::from_secs(3),
            // Long enough for what is promised of a lowered limit to be held against it.
            phase: Duration::from_secs(5),
            alone: Duration::ZERO,
        }
    }

    fn rate(&self, of_capacity: f64) -> u32 {
        (of_capacity * self.capacity as f64 / self.service.as_secs_f64()) as u32
    }
}

impl Phase {
    /// Served a second.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        self.told.served.len() as f64 / self.took.as_secs_f64()
    }
}

impl Followed {
    /// Served in all phases, of what the backend alone would have.
    #[must_use]
    pub fn of_possible(&self) -> f64 {
        let served: usize = self.phases.iter().map(|it| it.told.served.len()).sum();
        let possible = |it: &Phase| it.possible * it.took.as_secs_f64();
        served as f64 / self.phases.iter().map(possible).sum::<f64>()
    }

    /// The 99th percentile of the time of a request, in times of what it is without load.
    #[must_use]
    pub fn slower(&self) -> f64 {
        self.told().percentile(99) / self.unloaded.told.percentile(99)
    }

    /// Whether never more was in flight at the backend than is promised.
    #[must_use]
    pub fn kept(&self) -> bool {
        self.all().all(|phase| phase.above == 0)
    }

    /// In how many tenths of a second more was in flight than the limits of the [`USUAL`] time before.
    #[must_use]
    pub fn late(&self) -> usize {
        self.all().map(|phase| phase.late).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Phase> {
        [&self.unloaded, &self.looking]
            .into_iter()
            .chain(&self.phases)
    }

    /// What became of the requests of all phases.
    #[must_use]
    pub fn told(&self) -> Told {
        let mut all = Told::default();
        self.phases.iter().for_each(|phase| all.add(&phase.told));
        all
    }
}

/// Runs it all. `say` is told where it is. `None` without Redis.
///
/// # Panics
/// If what is needed for it does not start.
#[must_use]
pub fn follow(setup: &Setup, mut say: impl FnMut(&str)) -> Option<Followed> {
    let redis = RedisServer::start()?;
    let mut committed = Committed::new(PROMISED);
    committed.follow(redis.address());
    let backend = Backend::builder()
        .capacity(setup.capacity)
        .service_time(setup.service)
        .start();
    let half = setup.capacity / 2;
    say("the backend alone");
    let possible = [setup.capacity, half].map(|capacity| alone(&backend, capacity, setup.alone));
    backend.set_capacity(setup.capacity);

    let gateways: Vec<Gateway> = (0..setup.gateways)
        .map(|number| gateway(number, &redis.url(), &backend.url(), setup.queue))
        .collect();
    for gateway in &gateways {
        gateway.process.expect_line("ready: ");
    }
    let weights: Vec<_> = (1u32..)
        .zip(&gateways)
        .map(|(number, gateway)| (gateway.address(), 1.0 / f64::from(number)))
        .collect();
    let mut watch = Watch {
        arrivals: Arrivals::start(&weights),
        backend,
        gateways,
        committed,
    };
    watch.arrivals.set_rate(setup.rate(0.05));
    let mut phase = |name, capacity, time, possible| {
        say(name);
        watch.phase(name, capacity, time, possible)
    };
    let full = setup.capacity;
    let unloaded = phase("unloaded", full, setup.alone, possible[0]);
    let rate = setup.rate(2.0);
    let mut loaded = |name, capacity, time, possible| {
        say(name);
        watch.arrivals.set_rate(rate);
        watch.phase(name, capacity, time, possible)
    };
    let looking = loaded("looking", full, setup.looking, possible[0]);
    let phases = vec![
        loaded("full", full, setup.phase, possible[0]),
        loaded("half", half, setup.phase, possible[1]),
        loaded("full again", full, setup.phase, possible[0]),
    ];
    let mut seen = Followed {
        unloaded,
        looking,
        phases,
    };
    let first = [&mut seen.unloaded, &mut seen.looking];
    watch.judge(first.into_iter().chain(&mut seen.phases).collect());
    Some(seen)
}

/// What the backend serves a second when twice as many ask as it can serve at once.
fn alone(backend: &Backend, capacity: usize, time: Duration) -> f64 {
    backend.set_capacity(capacity);
    if time.is_zero() {
        return 0.0;
    }
    let load = Load::start(2 * capacity, vec![backend.address()]);
    pause(time);
    load.goodput(time / 4, time)
}

fn gateway(number: u32, store: &str, upstream: &str, queue: Option<Duration>) -> Gateway {
    let queue = queue.map(|most| format!("--queue={}ms", most.as_millis()));
    let node = format!("node-{number}");
    let framework = if number.is_multiple_of(2) {
        "axum"
    } else {
        "actix"
    };
    let arguments = [
        "--node",
        &node,
        "--framework",
        framework,
        "--upstream",
        upstream,
        "--store",
        store,
        "--empty-store",
        "trust",
    ];
    Gateway::start(arguments.into_iter().chain(queue.as_deref()))
}

/// The backend and what the fleet believes of it, side by side.
struct Watch {
    arrivals: Arrivals,
    backend: Backend,
    gateways: Vec<Gateway>,
    committed: Committed,
}

impl Watch {
    fn phase(
        &mut self,
        name: &'static str,
        capacity: usize,
        time: Duration,
        possible: f64,
    ) -> Phase {
        self.backend.set_capacity(capacity);
        self.backend.reset_max();
        drop(self.arrivals.take());
        let mut ours: Vec<u32> = self.gateways.iter().map(|it| it.process.id()).collect();
        ours.push(std::process::id());
        let (started, processor, own) = (now(), Processor::read(), Processor::of(&ours));
        pause(time);
        let told = self.arrivals.take();
        let took = started.elapsed();
        let used = |later: Option<Processor>, earlier: Option<Processor>| {
            Some(later?.used_since(&earlier?))
        };
        Phase {
            name,
            capacity,
            started,
            took,
            possible,
            most: self.backend.stats().max_in_flight,
            limits: self.committed.range(started),
            above: 0,
            late: 0,
            told,
            used: used(Processor::read(), processor),
            used_by_us: used(Processor::of(&ours), own),
            load: load_average(),
        }
    }

    /// Counts in each phase the tenths of a second in which more was in flight than might be. To be called at the end, when
    /// all limits have been heard of.
    fn judge(&self, mut phases: Vec<&mut Phase>) {
        pause(HEARD);
        for (since, most) in self.backend.peaks() {
            let Some(phase) = phases.iter_mut().rfind(|phase| phase.started <= since) else {
                continue;
            };
            let above = |memory| usize::from(most > self.committed.bound(since, memory));
            phase.above += above(PROMISED);
            phase.late += above(USUAL);
        }
    }
}
