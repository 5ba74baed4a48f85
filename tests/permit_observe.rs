//! Operators see what happened at a guard: every count once, refusals also while nothing comes back, and no flood of
//! events.
#![cfg(all(feature = "metrics", feature = "tracing"))]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate::adaptive::{Fixed, LocalGuard};
use tidegate::time::{Clock, ManualClock};
use tidegate::{ConcurrencyGuard, Criticality, Key, Quota, RateLimiter, Shed};
use tidegate_test_support::Board;
use tracing::field::{Field, Visit};

/// Events by message, with their numbers.
#[derive(Clone, Debug, Default)]
struct Journal(Arc<Mutex<Vec<BTreeMap<String, String>>>>);

struct Entry(BTreeMap<String, String>);

impl Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl tracing::Subscriber for Journal {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut entry = Entry(BTreeMap::new());
        event.record(&mut entry);
        self.0.lock().unwrap().push(entry.0);
    }
}

/// What is seen while `work` runs on this thread.
fn watching(work: impl FnOnce(&Board, &Journal)) {
    let (board, journal) = (Board::default(), Journal::default());
    tracing::subscriber::with_default(journal.clone(), || {
        metrics::with_local_recorder(&board, || work(&board, &journal));
    });
}

fn guard(slots: u32) -> (LocalGuard, ManualClock) {
    let (clock, lever) = Clock::manual();
    let builder = LocalGuard::builder(Fixed::new(slots)).clock(clock);
    (builder.name("db").build().unwrap(), lever)
}

#[test]
fn every_count_is_told_once() {
    watching(|board, _| {
        let (guard, lever) = guard(2);
        for round in 1..4_u64 {
            let first = guard.try_acquire(Criticality::Default).unwrap();
            let second = guard.try_acquire(Criticality::Default).unwrap();
            assert_eq!(
                guard.try_acquire(Criticality::Default).unwrap_err(),
                Shed::Full
            );
            lever.advance(Duration::from_millis(20));
            first.success();
            let _ = guard.stats();
            assert_eq!(board.read("tidegate_in_flight{guard=db}"), 1.0);
            second.failure();
            let _ = guard.stats();
            let _ = guard.stats();
            let round = round as f64;
            assert_eq!(board.read("tidegate_admitted_total{guard=db}"), 2.0 * round);
            assert_eq!(
                board.read("tidegate_outcomes_total{guard=db,outcome=success}"),
                round
            );
            assert_eq!(
                board.read("tidegate_outcomes_total{guard=db,outcome=failure}"),
                round
            );
            assert_eq!(
                board.read("tidegate_sheds_total{guard=db,reason=full}"),
                round
            );
        }
        assert_eq!(board.read("tidegate_in_flight{guard=db}"), 0.0);
        assert_eq!(board.read("tidegate_ceiling{guard=db}"), 2.0);
        assert_eq!(board.read("tidegate_latency_seconds{guard=db}"), 0.02);
    });
}

#[test]
fn a_window_that_closes_tells_without_being_asked() {
    watching(|board, _| {
        let (guard, lever) = guard(2);
        for _ in 0..100 {
            let lease = guard.try_acquire(Criticality::Default).unwrap();
            lever.advance(Duration::from_millis(10));
            lease.success();
        }
        assert!(board.read("tidegate_outcomes_total{guard=db,outcome=success}") >= 75.0);
    });
}

#[test]
fn a_stuck_backend_is_told_of_without_a_flood() {
    watching(|board, journal| {
        let (guard, lever) = guard(1);
        let _stuck = guard.try_acquire(Criticality::Default).unwrap();
        for _ in 0..100_000 {
            guard.try_acquire(Criticality::Default).unwrap_err();
            lever.advance(Duration::from_micros(100));
        }
        let told = board.read("tidegate_sheds_total{guard=db,reason=full}");
        assert!((98_000.0..=100_000.0).contains(&told), "{told}");
        let events = journal.0.lock().unwrap();
        assert!(
            (9..=11).contains(&events.len()),
            "10 s, {} events",
            events.len()
        );
        assert_eq!(events[0]["full"], "1", "the first refusal is told at once");
        let shed: u32 = events
            .iter()
            .map(|event| event["full"].parse::<u32>().unwrap())
            .sum();
        assert!(shed > 80_000, "{shed}");
    });
}

#[test]
fn decisions_are_counted_by_policy_and_verdict() {
    watching(|board, _| {
        let builder = RateLimiter::builder(Quota::per_second(2)).name("api");
        let limiter = builder.clock(Clock::manual().0).build().unwrap();
        for _ in 0..5 {
            let _ = limiter.check(&Key::of("alice"), 1);
        }
        assert_eq!(
            board.read("tidegate_decisions_total{policy=api,verdict=allow}"),
            2.0
        );
        assert_eq!(
            board.read("tidegate_decisions_total{policy=api,verdict=deny}"),
            3.0
        );
    });
}
