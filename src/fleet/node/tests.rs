//! A node and its store in one room, moment by moment.

use super::*;
use crate::Criticality;
use crate::adaptive::{Aimd, Estimator, Fixed, LimitAlgorithm, WindowSetup};
use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::settings::{Estimate, Outage};
use crate::permit::{GateSetup, Shed};
use crate::time::{Clock, ManualClock};

const MS: Duration = Duration::from_millis(1);

/// A node and its store in one room: whatever is sent has arrived.
struct Room {
    node: Node,
    store: KeyState,
    lever: ManualClock,
}

impl Room {
    fn new(outage: Outage) -> Self {
        Self::with(outage, Fixed::new(5))
    }

    fn with(outage: Outage, estimator: impl LimitAlgorithm + 'static) -> Self {
        let (clock, lever) = Clock::manual();
        let gate = Gate::new(GateSetup {
            name: Arc::from("key"),
            clock: clock.clone(),
            ceiling: 0,
            status: Status::Cold,
            fence_at: LocalTime::ZERO,
            estimator: Estimator::new(estimator),
            window: WindowSetup::default(),
            estimator_rules: false,
        });
        let settings = Settings {
            heartbeat: 100 * MS,
            ttl: 400 * MS,
            margin: 40 * MS,
            drain: 50 * MS,
            estimate: Estimate::Fixed(3),
            outage,
            ..Settings::default()
        };
        let member = Member::new(Arc::from("a"), 7, settings, clock.now());
        Self {
            node: Node::new(member, 1, Arc::new(gate)),
            store: KeyState::default(),
            lever,
        }
    }

    fn now(&self) -> LocalTime {
        self.node.gate.clock().now()
    }

    fn wait(&mut self, by: Duration) -> Vec<Event> {
        self.lever.advance(by);
        let events = self.node.handle_timeout(self.now());
        self.node.cancel();
        events
    }

    /// Beats now; the answer, and those to the plans that follow, arrive.
    fn beat(&mut self) -> (Beat, Vec<Event>) {
        self.beat_with(EmptyStore::Trust)
    }

    fn beat_with(&mut self, empty: EmptyStore) -> (Beat, Vec<Event>) {
        let now = self.now();
        self.node.beat_now(now);
        let beat = self.node.poll_beat(now, 1).expect("no beat is out");
        let answer = self.store.beat(&beat, "server", empty);
        let (mut events, mut commit) = self.node.handle_answer(now, answer);
        while let Some(plan) = commit {
            let (answer, _) = self.store.commit(&plan, "server");
            let (more, next) = self.node.handle_commit(now, answer);
            events.extend(more);
            commit = next;
        }
        (beat, events)
    }
}

#[test]
fn it_plans_for_itself_and_opens_the_gate() {
    let mut room = Room::new(Outage::FailClosed);
    assert_eq!(
        room.node
            .gate
            .try_acquire(Criticality::Critical)
            .unwrap_err(),
        Shed::Cold
    );
    let (_, events) = room.beat();
    assert_eq!(events, [Event::Granted]);
    assert_eq!(room.node.gate.sample(), (3, 0));
    let lease = room.node.gate.try_acquire(Criticality::Critical).unwrap();
    assert_eq!(room.beat().0.in_flight, 1);
    lease.success();
}

#[test]
fn who_waited_long_for_its_first_slot_keeps_it_for_a_lease_without_being_asked() {
    let mut room = Room::new(Outage::FailClosed);
    // The store has lost what it knew: whoever joins waits.
    while !room
        .beat_with(EmptyStore::Learn)
        .1
        .contains(&Event::Granted)
    {
        assert_eq!(room.beat_with(EmptyStore::Learn).0.report.demand, 1);
        room.wait(100 * MS);
    }
    assert!(room.now() > LocalTime::ZERO.saturating_add(400 * MS));
    assert_eq!(room.beat().0.report.demand, 1);
    room.wait(300 * MS);
    assert_eq!(room.beat().0.report.demand, 1);
    room.wait(100 * MS);
    assert_eq!(room.beat().0.report.demand, 0);
}

#[test]
fn what_a_fence_cancels_stays_in_use_for_the_grace() {
    let mut room = Room::new(Outage::FailClosed);
    room.beat();
    let lease = room.node.gate.try_acquire(Criticality::Critical).unwrap();
    let token = lease.token();
    assert_eq!(room.wait(360 * MS), [Event::Fenced]);
    assert!(token.is_cancelled());
    drop(lease);
    assert_eq!(
        room.node
            .gate
            .try_acquire(Criticality::Critical)
            .unwrap_err(),
        Shed::Fenced
    );
    assert_eq!(room.beat().0.in_flight, 1);
    assert_eq!(room.wait(50 * MS), []);
    assert_eq!(room.beat().0.in_flight, 0);
    assert_eq!(room.node.gate.status(), Status::Open);
}

#[test]
fn who_forgets_to_cancel_is_called_back_for_it() {
    let mut room = Room::new(Outage::FailClosed);
    room.beat();
    let lease = room.node.gate.try_acquire(Criticality::Critical).unwrap();
    room.lever.advance(360 * MS);
    let now = room.now();
    assert_eq!(room.node.handle_timeout(now), [Event::Fenced]);
    assert!(!lease.token().is_cancelled());
    assert_eq!(room.node.poll_timeout(), LocalTime::ZERO);
    assert_eq!(room.node.handle_timeout(now), []);
    assert!(lease.token().is_cancelled());
}

#[test]
fn a_node_on_its_own_lets_the_estimator_rule_and_cancels_nothing() {
    let mut room = Room::new(Outage::LocalOnly);
    room.beat();
    let lease = room.node.gate.try_acquire(Criticality::Critical).unwrap();
    assert_eq!(room.wait(360 * MS), [Event::Fenced]);
    assert!(!lease.token().is_cancelled());
    assert_eq!(room.node.gate.sample(), (5, 1));
    room.beat();
    assert_eq!(room.node.gate.sample(), (3, 1));
}

/// What it found beside its share, where nothing but that held it back, is no limit.
#[test]
fn a_node_on_its_own_begins_with_the_share_that_it_had() {
    let mut room = Room::with(Outage::LocalOnly, Aimd::default());
    room.beat();
    assert_eq!((room.node.gate.local_limit(), room.node.ceiling()), (20, 3));
    assert_eq!(room.wait(360 * MS), [Event::Fenced]);
    assert_eq!((room.node.gate.local_limit(), room.node.ceiling()), (3, 3));
}

#[test]
fn the_peak_of_a_lost_beat_is_told_again() {
    let mut room = Room::new(Outage::FailClosed);
    room.beat();
    let lease = |room: &Room| room.node.gate.try_acquire(Criticality::Critical).unwrap();
    drop([lease(&room), lease(&room)]);
    let now = room.now();
    room.node.beat_now(now);
    let lost = room.node.poll_beat(now, 1).expect("no beat is out");
    assert_eq!((lost.in_flight, lost.report.peak), (0, 2));
    room.node.handle_failure(now);
    assert_eq!(room.beat().0.report.peak, 2);
    assert_eq!(room.beat().0.report.peak, 0);
}

#[test]
fn a_wait_counts_as_a_refusal_and_as_one_arrival() {
    let mut room = Room::new(Outage::FailClosed);
    room.beat();
    let gate = Arc::clone(&room.node.gate);
    let lease = || gate.try_acquire(Criticality::Critical).unwrap();
    let (first, others) = (lease(), [lease(), lease()]);
    let wait = crate::permit::Wait::Briefly(20 * MS);
    let waker = std::task::Waker::noop().clone();
    gate.enqueue(Criticality::Critical, wait, waker);
    first.success();
    drop(others);
    let report = room.beat().0.report;
    assert_eq!(
        (report.arrivals, report.sheds, report.other_sheds),
        (4, 1, 0)
    );
}

#[test]
fn a_node_that_is_not_driven_any_more_admits_nothing() {
    let mut room = Room::new(Outage::FailClosed);
    room.beat();
    let lease = room.node.gate.try_acquire(Criticality::Critical).unwrap();
    room.node.end();
    assert!(lease.token().is_cancelled());
    drop(lease);
    assert_eq!(room.node.gate.sample(), (0, 0));
    assert_eq!(
        room.node
            .gate
            .try_acquire(Criticality::Critical)
            .unwrap_err(),
        Shed::Closed
    );
}
