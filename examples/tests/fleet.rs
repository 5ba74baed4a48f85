//! Real processes keep one limit: gateways under axum and actix-web over one Redis, in front of a backend that counts
//! what is in flight in it, under more load than it can take.
//!
//! What a killed or stopped process has sent to the backend goes on there. That is covered as long as the service time
//! is below the fleet's drain, which every configuration has to make sure of; here it is a tenth.

mod load;
mod support;

use crate::load::Load;
use crate::support::{Gateway, eventually};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidegate_test_support::{Backend, PATIENCE, RedisServer};

/// What the backend may see at once.
const LIMIT: usize = 12;
const SERVICE: Duration = Duration::from_millis(30);
const HEARTBEAT: Duration = Duration::from_millis(150);
const TTL: Duration = Duration::from_millis(600);
const DRAIN: Duration = Duration::from_millis(300);
/// Requests that a phase must get served.
const WORK: u64 = 300;

/// What all gateways have in common.
struct Fleet {
    backend: Backend,
    redis: RedisServer,
    _turn: MutexGuard<'static, ()>,
}

/// Fleets take turns: what they do is a matter of time, and a small machine has little of it.
static TURN: Mutex<()> = Mutex::new(());

impl Fleet {
    /// `None` without Redis.
    fn start() -> Option<Self> {
        // A test that failed has left nothing behind.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Self {
            redis: RedisServer::start()?,
            backend: Backend::builder().service_time(SERVICE).start(),
            _turn: turn,
        })
    }

    fn gateway(&self, node: &str, framework: &str) -> Gateway {
        let [limit, heartbeat, ttl, drain] = [
            format!("fixed:{LIMIT}"),
            format!("{}ms", HEARTBEAT.as_millis()),
            format!("{}ms", TTL.as_millis()),
            format!("{}ms", DRAIN.as_millis()),
        ];
        let (url, store) = (self.backend.url(), self.redis.url());
        Gateway::start([
            "--node",
            node,
            "--framework",
            framework,
            "--upstream",
            &url,
            "--store",
            &store,
            "--estimate",
            &limit,
            "--heartbeat",
            &heartbeat,
            "--ttl",
            &ttl,
            "--drain",
            &drain,
        ])
    }

    /// The backend is served on and sees no more than it may.
    fn works(&self, phase: &str) {
        let begun = self.backend.stats().begun;
        let seen = self
            .backend
            .wait_until(PATIENCE, |stats| stats.begun >= begun + WORK);
        assert!(
            seen.begun >= begun + WORK,
            "{phase}: only {} requests",
            seen.begun - begun
        );
        assert!(seen.max_in_flight <= LIMIT, "{phase}: {seen:?}");
    }
}

/// The shares at one moment: the same before and after all had been asked.
fn shares(gateways: &[&Gateway]) -> Vec<u64> {
    let sweep = || -> Vec<u64> {
        gateways
            .iter()
            .map(|gateway| gateway.count("share"))
            .collect()
    };
    let mut last = sweep();
    eventually(|| {
        let before = std::mem::replace(&mut last, sweep());
        before == last
    })
    .expect("shares stand still for a moment");
    assert!(last.iter().sum::<u64>() <= LIMIT as u64, "{last:?}");
    last
}

/// Waits until these have the whole limit between them, and each a part of it.
fn wait_for_all(phase: &str, gateways: &[&Gateway]) {
    let mut last = Vec::new();
    eventually(|| {
        last = shares(gateways);
        last.iter().sum::<u64>() == LIMIT as u64 && !last.contains(&0)
    })
    .unwrap_or_else(|| panic!("{phase}: {last:?}"));
}

#[test]
fn i2_the_backend_never_sees_more_than_the_limit_whatever_happens_to_the_gateways() {
    let Some(fleet) = Fleet::start() else { return };
    let mut first = fleet.gateway("first", "axum");
    first.process.expect_line("ready: ");
    let load = Load::start(3 * LIMIT);
    load.send_to(&[&first]);
    wait_for_all("alone", &[&first]);
    fleet.works("alone");

    let second = fleet.gateway("second", "axum");
    let mut third = fleet.gateway("third", "actix");
    load.send_to(&[&first, &second, &third]);
    wait_for_all("two join", &[&first, &second, &third]);
    fleet.works("two join");

    first.process.terminate();
    let status = first.process.wait(PATIENCE).expect("it drains and leaves");
    assert_eq!(status.code(), Some(0));
    load.send_to(&[&second, &third]);
    wait_for_all("one leaves", &[&second, &third]);
    fleet.works("one leaves");

    let first = fleet.gateway("first", "axum");
    load.send_to(&[&first, &second, &third]);
    wait_for_all("it comes back", &[&first, &second, &third]);
    third.process.kill();
    fleet.works("one is killed");
    wait_for_all("one is killed", &[&first, &second]);

    let third = fleet.gateway("third", "actix");
    load.send_to(&[&first, &second, &third]);
    wait_for_all("it is restarted", &[&first, &second, &third]);
    for stopped in [&second, &third] {
        let others: Vec<&Gateway> = [&first, &second, &third]
            .into_iter()
            .filter(|it| it.address != stopped.address)
            .collect();
        let fences = stopped.count("fences");
        stopped.process.stop();
        fleet.works("one is stopped");
        wait_for_all("one is stopped", &others);
        stopped.process.cont();
        fleet.works("it goes on");
        wait_for_all("it goes on", &[&first, &second, &third]);
        assert!(
            stopped.count("fences") > fences,
            "it slept through its lease"
        );
    }

    let sent = load.stop();
    let seen = fleet.backend.wait_until(PATIENCE, |it| it.in_flight == 0);
    assert_eq!(seen.in_flight, 0);
    // The load was enough to fill it, and then nothing got through beyond that.
    assert_eq!(seen.max_in_flight, LIMIT, "{seen:?}");
    assert!(sent.refused > sent.served / 10, "{sent:?}");
    for gateway in [&first, &second, &third] {
        gateway.wait_until("the end", |it| {
            it["in_flight"] == 0 && it["at_backend"] == 0
        });
    }
    shares(&[&first, &second, &third]);
}

#[test]
fn i10_a_crashed_gateways_share_comes_back_and_not_before_it_has_surely_ended() {
    let Some(fleet) = Fleet::start() else { return };
    let survivor = fleet.gateway("survivor", "axum");
    let mut crashed = fleet.gateway("crashed", "actix");
    let load = Load::start(3 * LIMIT);
    load.send_to(&[&survivor, &crashed]);
    wait_for_all("both", &[&survivor, &crashed]);
    // How soon it comes back is what the protocol's tests hold it to, in virtual time; a machine that does much else may
    // be late. Nothing makes it early: its last beat was at most a heartbeat before, or two if one was lost.
    let bound = TTL + DRAIN - 2 * HEARTBEAT;
    crashed.process.kill();
    let (killed, mut took) = (now(), Duration::ZERO);
    load.send_to(&[&survivor]);
    survivor.wait_until("the crashed one's share", |stats| {
        took = killed.elapsed();
        stats["share"] == LIMIT
    });
    assert!(took >= bound, "{took:?} is before {bound:?}");
    fleet.works("with all of it");
    load.stop();
}

#[test]
fn i10_a_gateway_restarted_under_its_name_is_not_locked_out() {
    let Some(fleet) = Fleet::start() else { return };
    let other = fleet.gateway("other", "axum");
    let mut gateway = fleet.gateway("same", "axum");
    let load = Load::start(3 * LIMIT);
    for framework in ["actix", "axum"] {
        load.send_to(&[&other, &gateway]);
        wait_for_all("both", &[&other, &gateway]);
        gateway.process.kill();
        gateway = fleet.gateway("same", framework);
        gateway.process.expect_line("ready: node same ");
        fleet.works("restarted");
    }
    load.stop();
    assert!(fleet.backend.stats().max_in_flight <= LIMIT);
}

#[test]
fn i10_of_two_live_gateways_with_one_name_the_later_is_refused_by_name() {
    let Some(fleet) = Fleet::start() else { return };
    let earlier = fleet.gateway("same", "axum");
    earlier.process.expect_line("ready: ");
    let mut later = fleet.gateway("same", "actix");
    let said = later
        .process
        .expect_line("gateway: another live process is node");
    assert!(said.contains("node \"same\" of key \"gateway\""), "{said}");
    let status = later.process.wait(PATIENCE).expect("it gives up");
    assert_eq!(status.code(), Some(1));
    assert_eq!(earlier.get("/").status, 200);
    let stats = earlier.stats();
    assert_eq!(
        (&stats["state"], &stats["fences"]),
        (&"active".into(), &0.into())
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "real processes are measured by a real clock"
)]
fn now() -> Instant {
    Instant::now()
}
