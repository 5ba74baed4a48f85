//! The permit word and its queue under loom: every interleaving of two or three threads, up to three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg tidegate_loom" CARGO_TARGET_DIR=target/loom \
//!     cargo test --release --no-default-features --lib permit::model
//! ```
//!
//! A lost wake-up shows as a deadlock, which loom reports with the interleaving that led to it.

use crate::adaptive::{Estimator, Fixed, WindowSetup};
use crate::criticality::{Criticality, Reserves};
use crate::permit::queue::{Place, Queued, Wait};
use crate::permit::waiters::Turn;
use crate::permit::{Gate, GateSetup, Lease, Outcome, Shed, Status};
use crate::time::{Clock, LocalTime, ManualClock};
use loom::sync::Notify;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

const CLASS: Criticality = Criticality::Default;

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A gate with `ceiling` slots at a time of 10 ns, fenced from `fence_at` on.
fn gate(ceiling: u32, fence_at: LocalTime) -> (Arc<Gate>, ManualClock) {
    let (clock, lever) = Clock::manual();
    lever.set(LocalTime::from_nanos(10));
    let gate = Gate::new(GateSetup {
        name: "model".into(),
        clock,
        ceiling,
        status: Status::Open,
        fence_at,
        estimator: Estimator::new(Fixed::new(7)),
        window: WindowSetup {
            length: Duration::from_nanos(1),
            min_samples: 1,
        },
        estimator_rules: false,
    });
    (Arc::new(gate), lever)
}

fn open(ceiling: u32) -> Arc<Gate> {
    gate(ceiling, LocalTime::NEVER).0
}

#[derive(Debug)]
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// As the waiting future, without its timer: a slot, or why there is none.
fn wait_as(gate: &Arc<Gate>, class: Criticality, wait: Wait) -> Result<Lease, Shed> {
    let bell = Arc::new(Bell(Notify::new()));
    let waker = Waker::from(Arc::clone(&bell));
    let ticket = match gate.enqueue(class, wait, waker.clone()) {
        Queued::Slot(slot) => return Ok(gate.lease(slot)),
        Queued::TurnedAway(shed) => return Err(shed),
        Queued::Waits(place) => place.ticket,
    };
    loop {
        match gate.poll_ticket(ticket, &waker) {
            Some(Turn::Slot(slot)) => return Ok(gate.lease(slot)),
            Some(Turn::TurnedAway(shed)) => return Err(shed),
            None => {}
        }
        if gate.status() == Status::Closed {
            return match gate.give_up(ticket) {
                Some(slot) => Ok(gate.lease(slot)),
                None => Err(Shed::Closed),
            };
        }
        bell.0.wait();
    }
}

/// In line.
fn wait(gate: &Arc<Gate>, class: Criticality) -> Result<Lease, Shed> {
    wait_as(gate, class, Wait::InLine(Duration::MAX))
}

/// In the micro-queue.
fn wait_briefly(gate: &Arc<Gate>, class: Criticality) -> Result<Lease, Shed> {
    wait_as(gate, class, BRIEFLY)
}

const BRIEFLY: Wait = Wait::Briefly(Duration::from_secs(1));

/// Joins the queue, is polled once and leaves: dropped, or at the end of its time.
fn wait_for_nothing(gate: &Arc<Gate>, class: Criticality, wait: Wait) {
    let slot = match (gate.enqueue(class, wait, Waker::noop().clone()), wait) {
        (Queued::Slot(slot), _) => Some(slot),
        (Queued::Waits(place), Wait::InLine(_)) => gate.leave(place.ticket),
        (Queued::Waits(place), Wait::Briefly(_)) => gate.give_up(place.ticket),
        (Queued::TurnedAway(_), _) => None,
    };
    drop(slot.map(|slot| gate.lease(slot)));
}

fn with(gate: &Arc<Gate>, work: impl FnOnce(Arc<Gate>) + Send + 'static) -> thread::JoinHandle<()> {
    let gate = Arc::clone(gate);
    thread::spawn(move || work(gate))
}

fn assert_idle(gate: &Gate) {
    assert_eq!(gate.sample().1, 0, "every slot came back");
}

#[test]
fn the_ceiling_is_never_exceeded_while_it_moves() {
    explore(|| {
        let gate = open(2);
        let running = Arc::new(AtomicU32::new(0));
        let workers = [(); 2].map(|()| {
            let running = Arc::clone(&running);
            with(&gate, move |gate| {
                if let Ok(lease) = gate.try_acquire(CLASS) {
                    assert!(running.fetch_add(1, Ordering::Relaxed) < 2);
                    running.fetch_sub(1, Ordering::Relaxed);
                    lease.success();
                }
            })
        });
        gate.set_ceiling(1);
        if let Ok(lease) = gate.try_acquire(CLASS) {
            // Whoever got in under the old ceiling is out, and nobody else may come in.
            assert_eq!(running.load(Ordering::Relaxed), 0);
            assert_eq!(gate.sample(), (1, 1));
            drop(lease);
        }
        for worker in workers {
            worker.join().unwrap();
        }
        assert_idle(&gate);
    });
}

#[test]
fn a_slot_given_back_finds_the_one_who_joins_meanwhile() {
    explore(|| {
        let gate = open(1);
        let held = gate.try_acquire(CLASS).unwrap();
        let worker = thread::spawn(move || held.success());
        drop(wait(&gate, CLASS).unwrap());
        worker.join().unwrap();
        assert_idle(&gate);
    });
}

#[test]
fn a_waiter_that_is_dropped_passes_its_slot_on() {
    explore(|| {
        let gate = open(1);
        let held = gate.try_acquire(CLASS).unwrap();
        let dropped = with(&gate, |gate| {
            wait_for_nothing(&gate, Criticality::Critical, Wait::InLine(Duration::MAX));
        });
        let worker = thread::spawn(move || drop(held));
        drop(wait(&gate, CLASS).unwrap());
        dropped.join().unwrap();
        worker.join().unwrap();
        assert_idle(&gate);
    });
}

#[test]
fn a_slot_given_back_finds_the_one_who_joins_the_micro_queue_meanwhile() {
    explore(|| {
        let gate = open(1);
        let held = gate.try_acquire(CLASS).unwrap();
        let worker = thread::spawn(move || held.success());
        drop(wait_briefly(&gate, CLASS).unwrap());
        worker.join().unwrap();
        assert_idle(&gate);
    });
}

#[test]
fn who_loses_its_place_to_a_more_critical_one_is_told_and_the_other_is_served() {
    explore(|| {
        let gate = open(1);
        let held = gate.try_acquire(CLASS).unwrap();
        let other = with(&gate, |gate| {
            assert!(matches!(
                wait_briefly(&gate, CLASS).map(Lease::success),
                Ok(()) | Err(Shed::Full)
            ));
        });
        let worker = thread::spawn(move || drop(held));
        drop(wait_briefly(&gate, Criticality::Critical).unwrap());
        other.join().unwrap();
        worker.join().unwrap();
        assert_idle(&gate);
    });
}

#[test]
fn one_of_two_in_a_micro_queue_for_one_is_served_and_nobody_is_forgotten() {
    explore(|| {
        let gate = open(1);
        let held = gate.try_acquire(CLASS).unwrap();
        let other = with(&gate, |gate| drop(wait_briefly(&gate, CLASS)));
        let worker = thread::spawn(move || drop(held));
        // The newer has the place, and there is nobody after it.
        let mine = wait_briefly(&gate, CLASS);
        assert!(matches!(mine, Ok(_) | Err(Shed::Full)));
        drop(mine);
        other.join().unwrap();
        worker.join().unwrap();
        assert_idle(&gate);
    });
}

#[test]
fn a_slot_that_comes_too_late_for_one_goes_to_the_next_in_line() {
    explore(|| {
        let (gate, clock) = gate(1, LocalTime::NEVER);
        let held = gate.try_acquire(CLASS).unwrap();
        let brief = with(&gate, |gate| {
            assert!(matches!(
                wait_briefly(&gate, CLASS).map(Lease::success),
                Ok(()) | Err(Shed::Deadline)
            ));
        });
        let worker = thread::spawn(move || {
            clock.advance(Duration::from_secs(1));
            drop(held);
        });
        drop(wait(&gate, CLASS).unwrap());
        brief.join().unwrap();
        worker.join().unwrap();
        assert_idle(&gate);
    });
}

#[test]
fn who_gives_up_passes_a_slot_on() {
    explore(|| {
        let gate = open(1);
        let held = gate.try_acquire(CLASS).unwrap();
        let other = with(&gate, |gate| {
            wait_for_nothing(&gate, Criticality::Critical, BRIEFLY);
        });
        let worker = thread::spawn(move || drop(held));
        drop(wait(&gate, CLASS).unwrap());
        other.join().unwrap();
        worker.join().unwrap();
        assert_idle(&gate);
    });
}

#[test]
fn a_raised_ceiling_finds_the_one_who_joins_meanwhile() {
    explore(|| {
        let gate = open(0);
        let driver = with(&gate, |gate| gate.set_ceiling(1));
        drop(wait(&gate, CLASS).unwrap());
        driver.join().unwrap();
        assert_idle(&gate);
    });
}

#[test]
fn a_newcomer_never_overtakes_one_who_waits() {
    explore(|| {
        let gate = open(1);
        let held = gate.try_acquire(CLASS).unwrap();
        let bell = Waker::noop();
        let in_line = Wait::InLine(Duration::MAX);
        let Queued::Waits(Place { ticket, .. }) = gate.enqueue(CLASS, in_line, bell.clone()) else {
            panic!("there is no slot");
        };
        let worker = thread::spawn(move || drop(held));
        assert_eq!(gate.try_acquire(CLASS).unwrap_err(), Shed::Full);
        assert_eq!(gate.try_acquire(Criticality::Bulk).unwrap_err(), Shed::Full);
        worker.join().unwrap();
        let Some(Turn::Slot(slot)) = gate.poll_ticket(ticket, bell) else {
            panic!("it is its turn");
        };
        drop(gate.lease(slot));
        assert!(gate.try_acquire(CLASS).is_ok());
    });
}

#[test]
fn a_fence_that_moves_on_finds_those_who_wait_behind_it() {
    explore(|| {
        let (gate, _clock) = gate(1, LocalTime::from_nanos(5));
        let driver = with(&gate, |gate| gate.set_fence_at(LocalTime::NEVER));
        let newcomer = with(&gate, |gate| drop(gate.try_acquire(CLASS)));
        drop(wait(&gate, CLASS).unwrap());
        driver.join().unwrap();
        newcomer.join().unwrap();
        assert_idle(&gate);
    });
}

#[test]
fn reserves_that_fall_find_those_who_wait_behind_them() {
    explore(|| {
        let gate = open(4);
        gate.set_reserves(Reserves::from_bits(4 << 16));
        let first = gate.try_acquire(CLASS).unwrap();
        assert_eq!(gate.try_acquire(CLASS).unwrap_err(), Shed::Class);
        let driver = with(&gate, |gate| gate.set_reserves(Reserves::default()));
        drop(wait(&gate, CLASS).unwrap());
        drop(first);
        driver.join().unwrap();
        assert_idle(&gate);
    });
}

#[test]
fn nothing_is_admitted_once_the_fence_is_known_to_have_passed() {
    explore(|| {
        let gate = open(1);
        let fenced = Arc::new(AtomicU32::new(0));
        let told = Arc::clone(&fenced);
        let driver = with(&gate, move |gate| {
            gate.set_fence_at(LocalTime::from_nanos(5));
            told.store(1, Ordering::Release);
        });
        let known = fenced.load(Ordering::Acquire) == 1;
        let lease = gate.try_acquire(CLASS);
        assert!(!known || lease.is_err());
        drop(lease);
        driver.join().unwrap();
        assert_eq!(gate.try_acquire(CLASS).unwrap_err(), Shed::Fenced);
        assert_idle(&gate);
    });
}

#[test]
fn what_a_fence_cancels_comes_back_once() {
    explore(|| {
        let gate = open(2);
        let workers = [(); 2].map(|()| {
            let lease = gate.try_acquire(CLASS).unwrap();
            thread::spawn(move || drop(lease))
        });
        gate.end_period();
        gate.end_grace();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_idle(&gate);
    });
}

#[test]
fn what_a_fence_is_known_to_have_cancelled_stays_in_use_for_the_grace() {
    explore(|| {
        let gate = open(1);
        let lease = gate.try_acquire(CLASS).unwrap();
        let driver = with(&gate, |gate| gate.end_period());
        // From here on its token is a cancelled one.
        let known = gate.read.period.load(Ordering::Acquire) > 0;
        drop(lease);
        let next = gate.try_acquire(CLASS);
        assert!(!known || next.is_err());
        drop(next);
        driver.join().unwrap();
        gate.end_grace();
        assert_idle(&gate);
    });
}

#[test]
fn who_comes_while_a_period_ends_gives_its_slot_back_once() {
    explore(|| {
        let gate = open(2);
        let held = gate.try_acquire(CLASS).unwrap();
        let newcomer = with(&gate, |gate| drop(gate.try_acquire(CLASS)));
        let worker = thread::spawn(move || drop(held));
        // Twice: a grace may still run when the next lease ends.
        gate.end_period();
        gate.end_period();
        newcomer.join().unwrap();
        worker.join().unwrap();
        gate.end_grace();
        assert_idle(&gate);
        drop(gate.try_acquire(CLASS).unwrap());
        assert_idle(&gate);
    });
}

#[test]
fn the_end_of_the_grace_finds_the_one_who_joins_meanwhile() {
    explore(|| {
        let gate = open(1);
        let held = gate.try_acquire(CLASS).unwrap();
        let worker = thread::spawn(move || drop(held));
        let driver = with(&gate, |gate| {
            gate.end_period();
            gate.end_grace();
        });
        drop(wait(&gate, CLASS).unwrap());
        worker.join().unwrap();
        driver.join().unwrap();
        assert_idle(&gate);
    });
}

#[test]
fn closing_wakes_the_one_who_joins_meanwhile() {
    explore(|| {
        let gate = open(0);
        let driver = with(&gate, |gate| {
            gate.set_status(Status::Closed);
            gate.set_ceiling(0);
        });
        assert_eq!(wait(&gate, CLASS).unwrap_err(), Shed::Closed);
        driver.join().unwrap();
    });
}

#[test]
fn a_window_that_ends_meanwhile_does_not_open_a_closed_gate() {
    explore(|| {
        let (gate, clock) = gate(3, LocalTime::NEVER);
        gate.set_estimator_rules(true);
        let held = gate.try_acquire(CLASS).unwrap();
        clock.advance(Duration::from_secs(1));
        let worker = thread::spawn(move || held.success());
        gate.set_status(Status::Closed);
        gate.set_ceiling(0);
        worker.join().unwrap();
        assert_eq!(gate.sample(), (0, 0));
    });
}

#[test]
fn the_estimator_that_has_lost_the_ceiling_does_not_move_it() {
    explore(|| {
        let (gate, clock) = gate(3, LocalTime::NEVER);
        gate.set_estimator_rules(true);
        let held = gate.try_acquire(CLASS).unwrap();
        clock.advance(Duration::from_secs(1));
        let worker = thread::spawn(move || held.success());
        gate.set_estimator_rules(false);
        gate.set_ceiling(2);
        worker.join().unwrap();
        assert_eq!(gate.sample(), (2, 0));
    });
}

#[test]
fn no_count_is_lost_between_those_who_settle_and_those_who_read() {
    explore(|| {
        let gate = open(2);
        let workers = [Outcome::Success, Outcome::Overload].map(|outcome| {
            let lease = gate.try_acquire(CLASS).unwrap();
            thread::spawn(move || lease.finish(outcome))
        });
        gate.totals();
        for worker in workers {
            worker.join().unwrap();
        }
        let totals = gate.totals();
        assert_eq!((totals.successes, totals.overloads), (1, 1));
        assert_idle(&gate);
    });
}
