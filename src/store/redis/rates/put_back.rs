//! A server's clock that is set wrong by an hour, either way: nobody gets more by it than one limit at once, and nobody is
//! kept out for longer than two windows and ten seconds.

use crate::decision::Policy;
use crate::key::Key;
use crate::quota::{Calendar, Quota};
use crate::store::RedisStore;
use crate::store::redis::rates::{Operation, Rates, Spelling, StoreMoment};
use std::time::Duration;
use tidegate_test_support::RedisServer;

const PATIENCE: Duration = Duration::from_secs(60);
const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;
/// In the middle of 2026, at the beginning of a month and of all windows here.
const BEGIN: u64 = 205_113_600 * SECOND;

struct Limit {
    rates: Rates,
    key: Key,
}

impl Limit {
    fn new(store: &RedisStore, number: usize, quotas: &[Quota]) -> Self {
        let policies: Vec<Policy> = quotas.iter().copied().map(Policy::from).collect();
        let spelling = Spelling::new(&policies).expect("whole microseconds");
        Self {
            rates: Rates::new(store.clone(), "put-back", spelling),
            key: Key::of(&(number as u64)),
        }
    }

    async fn admits(&self, at: u64) -> bool {
        let decide = self.rates.spelling().decide(1, 0);
        let now = Some(StoreMoment::from_micros(at));
        let answer = self.rates.ask_at(self.key, decide, now, PATIENCE).await;
        let standing = answer.expect("an answer");
        let decisions = standing.decisions(self.rates.spelling(), 1, 0);
        decisions.expect("decided as here").is_allowed()
    }

    /// How many of so many are admitted at once.
    async fn takes(&self, requests: u32, at: u64) -> u32 {
        let mut admitted = 0;
        for _ in 0..requests {
            admitted += u32::from(self.admits(at).await);
        }
        admitted
    }
}

fn quotas() -> Vec<(Vec<Quota>, u64)> {
    let minute = Quota::per_minute(6);
    let day = Quota::calendar(1_000, Calendar::DAY);
    [
        vec![minute],
        vec![minute.fixed()],
        vec![minute.sliding()],
        vec![minute.sliding_log()],
        vec![minute.soft(5)],
        vec![Quota::calendar(6, Calendar::HOUR)],
        vec![minute, day],
        vec![minute.fixed(), day],
    ]
    .into_iter()
    .map(|quotas| {
        let window = quotas[0].window().as_micros() as u64;
        (quotas, window.max(60 * SECOND))
    })
    .collect()
}

#[tokio::test]
async fn a_clock_put_back_by_hours_keeps_nobody_out_for_them_and_lets_nobody_in_anew() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).expect("an address");
    for (number, (quotas, window)) in quotas().into_iter().enumerate() {
        let limit = Limit::new(&store, number, &quotas);
        let mut now = BEGIN + 12 * HOUR + window / 2;
        assert!((5..=6).contains(&limit.takes(20, now).await), "{quotas:?}");
        for hours in [3, 5] {
            now -= hours * HOUR;
            let at_once = limit.takes(20, now).await;
            assert_eq!(at_once, 0, "{quotas:?} lets in what was spent before");
            // As often as a tenth of a window, and no more in any than there may be at its beginning and its end.
            let (mut waited, mut admitted) = (0, 0);
            while waited < 2 * window + 10 * SECOND {
                waited += window / 10;
                admitted += limit.takes(1, now + waited).await;
            }
            assert!(
                admitted > 0,
                "{quotas:?} keeps them out after {hours} hours"
            );
            assert!(
                admitted <= 18,
                "{quotas:?} admits {admitted} in two windows"
            );
            now += waited + 3 * window;
            assert!(
                limit.takes(20, now).await >= 5,
                "{quotas:?} is not as before"
            );
        }
    }
}

#[tokio::test]
async fn a_clock_put_forward_by_an_hour_gives_everything_back_once() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).expect("an address");
    for (number, (quotas, window)) in quotas().into_iter().enumerate() {
        let limit = Limit::new(&store, number, &quotas);
        let now = BEGIN + 12 * HOUR + window / 2;
        let before = limit.takes(20, now).await;
        let after = limit.takes(20, now + HOUR).await;
        assert!(
            (5..=6).contains(&before) && (5..=6).contains(&after),
            "{quotas:?}"
        );
    }
}

/// What was booked beyond the limit is owed by any clock.
#[tokio::test]
async fn a_debt_is_kept_when_the_clock_is_put_back() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).expect("an address");
    let limit = Limit::new(&store, 0, &[Quota::per_minute(6)]);
    let now = BEGIN + 12 * HOUR;
    // Six minutes' worth, of which one was there.
    let book = Operation::Book {
        units: &[36],
        id: None,
    };
    let moment = Some(StoreMoment::from_micros(now));
    let booked = limit.rates.ask_at(limit.key, book, moment, PATIENCE).await;
    booked.expect("an answer");
    assert!(!limit.admits(now + SECOND).await);
    let now = now - 3 * HOUR;
    assert!(!limit.admits(now).await);
    assert!(!limit.admits(now + 300 * SECOND).await);
    assert!(limit.admits(now + 312 * SECOND).await);
}
