//! Leases in a Redis: many questions a round trip, each one script on one key.

use crate::leased::message::{Ask, Told};
use crate::store::redis::rates::{Rates, StoreMoment, read_words};
use crate::store::redis::trouble::trouble;
use crate::store::{StoreError, StoreErrorKind};
use redis::{FromRedisValue, Pipeline, RedisError, ServerErrorKind, Value};
use std::time::Duration;

impl Rates {
    /// Asks `questions` in one round trip, for whose answers nobody waits longer than `patience`. One that is old, or that the server refused (somebody else's key, say), has no
    /// answer.
    pub(crate) async fn exchange(
        &self,
        questions: &[Ask],
        patience: Duration,
        now: Option<StoreMoment>,
    ) -> Result<Vec<Option<Told>>, StoreError> {
        let connection = &self.store().connection;
        let hash = self.spelling().script().get_hash();
        let repeats = patience.saturating_mul(REPEATS);
        let asked = self.pipeline(questions.iter(), "EVALSHA", hash, repeats, now);
        let mut answers = connection.pipeline(asked, LEASES).await?;
        // Repeated are only those that were not run: of the others the repetition would be an old question.
        let unknown: Vec<usize> = (0..answers.len())
            .filter(|at| is_unknown(&answers[*at]))
            .collect();
        if !unknown.is_empty() {
            // With the script itself, which the server then knows whatever happens between.
            let again = unknown.iter().map(|at| &questions[*at]);
            let again = self.pipeline(again, "EVAL", self.spelling().code(), repeats, now);
            let again = connection.pipeline(again, LEASES).await?;
            for (at, answer) in unknown.into_iter().zip(again) {
                answers[at] = answer;
            }
        }
        // All refused is trouble, as with a replica, and not somebody's bad key.
        if let Some(Value::ServerError(error)) = answers.first()
            && answers.iter().all(|it| matches!(it, Value::ServerError(_)))
        {
            return Err(trouble(RedisError::from(error.clone()), LEASES));
        }
        answers.iter().map(|answer| self.read(answer)).collect()
    }

    fn pipeline<'a>(
        &self,
        questions: impl Iterator<Item = &'a Ask>,
        command: &str,
        script: &str,
        repeats: Duration,
        now: Option<StoreMoment>,
    ) -> Pipeline {
        let repeats = u64::try_from(repeats.as_millis()).unwrap_or(u64::MAX);
        let repeats = repeats.min(LONGEST);
        let mut pipeline = Pipeline::new();
        for ask in questions {
            let call = pipeline.cmd(command).arg(script);
            call.arg(1).arg(self.key(ask.key, "leases")).arg("lease");
            match now {
                Some(now) => call.arg(now.as_micros()),
                None => call.arg(""),
            };
            call.arg(repeats).arg(format!("{:x}", ask.holder));
            call.arg(ask.number).arg(ask.heard);
            call.arg(ask.need).arg(ask.least);
            for line in &ask.lines {
                call.arg(line.give).arg(line.owe).arg(line.spare);
            }
        }
        pipeline
    }

    fn read(&self, answer: &Value) -> Result<Option<Told>, StoreError> {
        if matches!(answer, Value::ServerError(_)) {
            return Ok(None);
        }
        let malformed = || {
            StoreError::new(
                StoreErrorKind::Protocol,
                "the answer of the script of leases is malformed",
            )
        };
        let numbers = Vec::<u64>::from_redis_value_ref(answer).map_err(|_| malformed())?;
        if numbers == [0] {
            return Ok(None);
        }
        let mut numbers = numbers.into_iter().skip(1);
        let mut next = || numbers.next().ok_or_else(malformed);
        let now = StoreMoment::from_micros(next()?);
        let mut states = Vec::new();
        for rule in self.spelling().rules() {
            states.extend(read_words(rule, &mut next)?);
        }
        let granted: Result<Box<[u32]>, _> = (0..self.spelling().rules().len())
            .map(|_| u32::try_from(next()?).map_err(|_| malformed()))
            .collect();
        Ok(Some(Told {
            now,
            states: states.into(),
            granted: granted?,
        }))
    }
}

fn is_unknown(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

/// A question, or a repetition of it, may arrive within so many times what is waited for its answer. One that comes still
/// later may be booked once more: units are lost until they come back by themselves, and none is gained.
const REPEATS: u32 = 4;
/// In milliseconds: a day.
const LONGEST: u64 = 86_400_000;
/// For messages.
const LEASES: &str = "leases";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Policy, PolicyName};
    use crate::key::Key;
    use crate::leased::ledger::Ledger;
    use crate::leased::message::AskLine;
    use crate::store::RedisStore;
    use crate::store::redis::rates::Spelling;
    use tidegate_test_support::RedisServer;

    const BEGIN: u64 = 200_000_000_000_000;
    const PATIENCE: Duration = Duration::from_millis(250);
    /// Of each kind.
    const DECISIONS: usize = 100_000;
    const AT_A_TIME: usize = 50;

    /// Questions as holders may ask them, and as they may not: old, repeated, with answers unheard, giving back what
    /// they never had; and a store that forgets.
    #[tokio::test]
    async fn redis_answers_as_the_functions_do() {
        let Some(server) = RedisServer::start() else {
            return;
        };
        let store = RedisStore::new(server.url()).expect("an address");
        let mut rng = fastrand::Rng::with_seed(11);
        let (mut granted, mut old) = (0_u64, 0);
        for (number, quotas) in [
            "1000/s fixed",
            "300/s sliding",
            "1000/s",
            "90/7s burst 11",
            "20000/hour calendar",
            "50/day calendar +02:00",
            "300/s burst 40, 200/s fixed, 5000/10s sliding",
        ]
        .into_iter()
        .enumerate()
        {
            let policy = |(place, quota): (usize, &str)| {
                let name = PolicyName::new(&format!("p{place}")).expect("a name");
                Policy::new(name, quota.trim().parse().expect("a quota"))
            };
            let policies: Vec<Policy> = quotas.split(',').enumerate().map(policy).collect();
            let spelling = Spelling::leased(&policies).expect("whole microseconds");
            let rules = spelling.rules().to_vec();
            let rates = Rates::new(store.clone(), &format!("conformance{number}"), spelling);
            let mut ledger = Ledger::default();
            let mut now = BEGIN;
            let mut latest = [0_u64; 4];
            for round in 0..DECISIONS / AT_A_TIME {
                now += [0, 7, 1_013, 40_001, 900_000][rng.usize(..5)] * rng.u64(..3);
                if rng.u32(..100) == 0 {
                    server.cli(&["FLUSHALL"]);
                    ledger = Ledger::default();
                }
                if rng.u32(..50) == 0 {
                    server.cli(&["SCRIPT", "FLUSH"]);
                }
                let asks: Vec<Ask> = (0..AT_A_TIME)
                    .map(|_| ask(&mut rng, &mut latest, rules.len()))
                    .collect();
                let at = StoreMoment::from_micros(now);
                let expected: Vec<Option<Told>> = asks
                    .iter()
                    .map(|ask| ledger.exchange(&rules, ask, at))
                    .collect();
                let answers = rates.exchange(&asks, PATIENCE, Some(at)).await;
                assert_eq!(
                    answers.expect("answers"),
                    expected,
                    "{quotas} {round}: {asks:?}"
                );
                old += expected.iter().filter(|it| it.is_none()).count();
                let units = expected.iter().flatten().flat_map(|it| &it.granted);
                granted += units.map(|units| u64::from(*units)).sum::<u64>();
            }
        }
        let part = old * 100 / (7 * DECISIONS);
        assert!(
            (5..50).contains(&part) && granted > 1_000_000,
            "{part} % are old, {granted} granted"
        );
    }

    /// Any question of one of four holders.
    fn ask(rng: &mut fastrand::Rng, latest: &mut [u64; 4], policies: usize) -> Ask {
        let holder = rng.usize(..4);
        let number = match rng.u32(..8) {
            0 => rng.u64(..=latest[holder]),
            _ => latest[holder] + rng.u64(1..3),
        };
        latest[holder] = latest[holder].max(number);
        let need = rng.u32(..40) * rng.u32(..2);
        let line = |_| AskLine {
            give: rng.u32(..60) * rng.u32(..2),
            owe: rng.u64(..9) * rng.u64(..8) / 7,
            spare: rng.u32(..120) * rng.u32(..2),
        };
        let lines = (0..policies).map(line).collect();
        Ask {
            key: Key::EVERYONE,
            holder: holder as u64,
            number,
            heard: number.saturating_sub(rng.u64(1..4)),
            need,
            least: rng.u32(..=need),
            lines,
        }
    }

    #[tokio::test]
    async fn holders_that_are_gone_leave_nothing_for_long() {
        let Some(server) = RedisServer::start() else {
            return;
        };
        let store = RedisStore::new(server.url()).expect("an address");
        let policies = ["1000000/s".parse::<crate::Quota>().expect("a quota").into()];
        let spelling = Spelling::leased(&policies).expect("whole microseconds");
        let rates = Rates::new(store, "gone", spelling);
        let ask = |holder| Ask {
            key: Key::EVERYONE,
            holder,
            number: 1,
            heard: 0,
            need: 1,
            least: 1,
            lines: [AskLine::default()].into(),
        };
        let hash = || {
            let key = server.cli(&["EVAL", "return redis.call('KEYS', '*')[1]", "0"]);
            key.text()
        };
        let mut now = BEGIN;
        for holder in 0..500 {
            now += 10_000_000;
            let (asks, at) = ([ask(holder)], StoreMoment::from_micros(now));
            rates
                .exchange(&asks, PATIENCE, Some(at))
                .await
                .expect("an answer");
        }
        let fields = server.cli(&["HLEN", &hash()]).integer();
        assert!((60..140).contains(&fields), "{fields}");
    }

    /// Made-up identifiers are gone as soon as nothing of them counts, and no question about them can come again.
    #[tokio::test]
    async fn a_key_is_there_for_as_long_as_it_counts_or_may_be_repeated() {
        let Some(server) = RedisServer::start() else {
            return;
        };
        let store = RedisStore::new(server.url()).expect("an address");
        let ask = |number, need| Ask {
            key: Key::EVERYONE,
            holder: 1,
            number,
            heard: number - 1,
            need,
            least: need,
            lines: [AskLine::default()].into(),
        };
        let at = StoreMoment::from_micros(BEGIN);
        // How long units count, for how long a repetition may arrive, and that a hash outlives both by 5 s.
        for (quota, patience, need, most) in [
            ("1/s", 250, 1, 6_001),
            ("1/s", 250, 0, 6_000),
            ("1/s", 250, 2, 6_000),
            ("1/s", 10_000, 1, 45_000),
            ("1/hour", 250, 1, 3_605_001),
            ("1/hour", 250, 2, 6_000),
        ] {
            server.cli(&["FLUSHALL"]);
            let policies = [quota.parse::<crate::Quota>().expect("a quota").into()];
            let spelling = Spelling::leased(&policies).expect("whole microseconds");
            let rates = Rates::new(store.clone(), "gone", spelling);
            let patience = Duration::from_millis(patience);
            let asks = [ask(1, need)];
            let told = rates.exchange(&asks, patience, Some(at)).await;
            assert!(told.expect("an answer")[0].is_some());
            let key = server.cli(&["EVAL", "return redis.call('KEYS', '*')[1]", "0"]);
            let ends = server.cli(&["HGET", &key.text(), "e"]).text();
            let ends: u64 = ends.parse().expect("milliseconds");
            let lives = ends - BEGIN / 1_000;
            assert!(
                (most - 2..=most).contains(&lives),
                "{quota} {need}: {lives} ms"
            );
            let left = server.cli(&["PTTL", &key.text()]).integer();
            assert!(
                left > 0 && left.unsigned_abs() <= lives + 10,
                "{quota} {need}: {left} ms"
            );
            // And its repetition is one.
            let again = rates.exchange(&asks, patience, Some(at)).await;
            assert_eq!(again.expect("an answer"), [None]);
        }
    }

    /// Nobody is kept out for hours, and nobody gets what was granted before.
    #[tokio::test]
    async fn a_clock_put_back_by_hours_keeps_no_holder_out_for_them() {
        let Some(server) = RedisServer::start() else {
            return;
        };
        let store = RedisStore::new(server.url()).expect("an address");
        let (second, hour) = (1_000_000, 3_600_000_000);
        for quotas in [
            "60/min",
            "60/min fixed",
            "60/min sliding",
            "60/hour calendar",
            "60/min fixed, 100000/day calendar",
        ] {
            let policy = |(place, quota): (usize, &str)| {
                let name = PolicyName::new(&format!("p{place}")).expect("a name");
                Policy::new(name, quota.trim().parse().expect("a quota"))
            };
            let policies: Vec<Policy> = quotas.split(',').enumerate().map(policy).collect();
            let window = if quotas.contains("hour") {
                hour
            } else {
                60 * second
            };
            let spelling = Spelling::leased(&policies).expect("whole microseconds");
            let rates = Rates::new(store.clone(), &format!("put back {quotas}"), spelling);
            let mut number = 0;
            let mut ask = async |holder, need, give, at: u64| {
                number += 1;
                let line = AskLine {
                    give,
                    ..AskLine::default()
                };
                let ask = Ask {
                    key: Key::EVERYONE,
                    holder,
                    number,
                    heard: number - 1,
                    need,
                    least: 1,
                    lines: vec![line; policies.len()].into(),
                };
                let at = Some(StoreMoment::from_micros(at));
                let told = rates.exchange(&[ask], PATIENCE, at).await;
                told.expect("an answer")[0]
                    .clone()
                    .expect("no old question")
                    .granted[0]
            };
            // At the beginning of a month and of all windows.
            let mut now = 205_113_600 * second + 12 * hour + window / 4;
            assert_eq!(ask(1, 40, 0, now).await, 40, "{quotas}");
            assert_eq!(ask(2, 40, 0, now).await, 20, "{quotas}");
            now -= 3 * hour;
            // What comes back has been booked by another clock.
            assert_eq!(ask(1, 40, 30, now).await, 0, "{quotas}");
            let end = now + 2 * window + 10 * second;
            let mut granted = 0;
            while granted == 0 {
                now += window / 10;
                assert!(now < end, "{quotas}: nobody has anything");
                granted = ask(2, 60, 0, now).await;
            }
            now += 3 * window;
            assert_eq!(ask(2, 60, 0, now).await, 60, "{quotas}: as before");
            assert_eq!(ask(2, 60, 10, now).await, 10, "{quotas}: as before");
        }
    }
}
