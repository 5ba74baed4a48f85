//! A server's clock that is set wrong by an hour, either way: nobody gets more by it than one limit at once, and nobody is
//! kept out for longer than two windows and ten seconds.

use crate::decision::Policy;
use crate::key::Key;
use crate::quota::{Calendar, Quota};
use crate::store::RedisStore;
use crate::store::redis::rates::{GiveBack, Operation, Rates, Spelling, Standing, StoreMoment};
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

    async fn ask(&self, operation: Operation<'_>, at: u64) -> Standing {
        let now = Some(StoreMoment::from_micros(at));
        let answer = self.rates.ask_at(self.key, operation, now, PATIENCE).await;
        answer.expect("an answer")
    }

    async fn admits(&self, at: u64) -> bool {
        let standing = self.ask(self.rates.spelling().decide(1, 0), at).await;
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

/// Units that had been booked by a clock as it was may have come back since, and be somebody else's now.
#[tokio::test]
async fn what_was_booked_before_a_clock_was_put_back_takes_nothing_from_others() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).expect("an address");
    for (number, (quotas, window)) in quotas().into_iter().enumerate() {
        let limit = Limit::new(&store, number, &quotas);
        let spelling = limit.rates.spelling();
        let mut now = BEGIN + 12 * HOUR + window / 2;
        let standing = limit.ask(spelling.decide(3, 0), now).await;
        let mut give_back = vec![GiveBack::booked(3, standing.booking(spelling, 3))];
        let then = StoreMoment::from_micros(now).moment(0);
        let each = vec![3; quotas.len()].into();
        give_back.push(GiveBack::last(each, spelling.rules(), then));
        now -= 11 * HOUR;
        // It is found out when somebody is denied.
        limit.takes(20, now).await;
        // All of it is back, and others have taken it.
        now += 3 * window;
        assert!(limit.takes(20, now).await >= 5, "{quotas:?}");
        for it in &give_back {
            let each = std::slice::from_ref(it);
            limit.ask(Operation::GiveBack { each, id: None }, now).await;
            assert!(!limit.admits(now).await, "{quotas:?}: {it:?}");
        }
        // What is booked by the clock as it is goes back as ever.
        now += 3 * window;
        let standing = limit.ask(spelling.decide(3, 0), now).await;
        assert!(limit.takes(20, now).await >= 2);
        let each = &[GiveBack::booked(3, standing.booking(spelling, 3))];
        limit.ask(Operation::GiveBack { each, id: None }, now).await;
        assert!(limit.takes(20, now).await >= 3, "{quotas:?}");
    }
}

/// Less than a window each, and under several quotas more than one of them and less than another.
#[tokio::test]
async fn many_small_steps_back_keep_nobody_out_for_longer_than_one() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).expect("an address");
    let (minute, hour) = (Quota::per_minute(600), Quota::per_hour(6_000));
    let day = Quota::calendar(100_000, Calendar::DAY);
    for (number, (quotas, longest)) in [
        (vec![minute], 60 * SECOND),
        (vec![minute.fixed()], 60 * SECOND),
        (vec![minute.sliding()], 60 * SECOND),
        (vec![minute, hour], HOUR),
        (vec![minute.fixed(), day], 60 * SECOND),
        (vec![minute.sliding(), hour.fixed()], HOUR),
    ]
    .into_iter()
    .enumerate()
    {
        let limit = Limit::new(&store, number, &quotas);
        let mut now = BEGIN + 36 * HOUR + 30 * SECOND;
        for step in [50, 70] {
            for _ in 0..300 {
                limit.takes(1, now).await;
                now -= step * SECOND;
            }
            limit.takes(1_000, now).await;
            let end = now + 2 * longest + 10 * SECOND;
            while !limit.admits(now).await {
                now += SECOND;
                assert!(now <= end, "{quotas:?} keeps them out after {step} s");
            }
        }
    }
}

/// A caller that has not heard yet of a small step says that it refunds a moment later than now.
#[tokio::test]
async fn what_was_booked_a_moment_ago_goes_back_though_the_clock_was_put_back_a_little() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).expect("an address");
    for (number, (quotas, window)) in quotas().into_iter().enumerate() {
        let limit = Limit::new(&store, number, &quotas);
        let rules = limit.rates.spelling().rules();
        let now = BEGIN + 12 * HOUR + 3 * window / 4;
        let before = limit.takes(20, now).await;
        let by = StoreMoment::from_micros(now + 20 * SECOND).moment(0);
        let each = &[GiveBack::last(vec![3; quotas.len()].into(), rules, by)];
        limit.ask(Operation::GiveBack { each, id: None }, now).await;
        let after = limit.takes(20, now).await;
        assert!(
            before >= 5 && (3..=4).contains(&after),
            "{quotas:?}: {after}"
        );
    }
}
