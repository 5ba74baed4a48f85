//! A token bucket whose limit changes: as many units stay spent, whoever asks, and also while processes do not agree on the
//! limit yet.
//!
//! Seeded walks hold the script to a bucket in exact numbers, and count what was admitted against the larger limit.

use crate::decision::Policy;
use crate::key::Key;
use crate::quota::{Quota, TICKS_PER_NANO};
use crate::rule::RuleSet;
use crate::store::RedisStore;
use crate::store::redis::rates::{
    Booking, GiveBack, Operation, Rates, Spelling, Standing, StoreMoment,
};
use std::time::Duration;
use tidegate_test_support::RedisServer;

const PATIENCE: Duration = Duration::from_secs(60);
const TICKS_PER_MICRO: u64 = TICKS_PER_NANO * 1_000;
const MINUTE: u64 = 60_000_000;
/// In the middle of 2026.
const BEGIN: u64 = 205_113_600_000_000;

/// Limiters of one namespace and window over one store, each with a limit of its own.
struct Limits {
    each: Vec<(Quota, Rates)>,
    key: Key,
}

impl Limits {
    fn new(store: &RedisStore, number: u64, quotas: &[Quota]) -> Self {
        let rates = |quota: &Quota| {
            let spelling = Spelling::new(&[Policy::from(*quota)]).expect("whole microseconds");
            (*quota, Rates::new(store.clone(), "changing", spelling))
        };
        Self {
            each: quotas.iter().map(rates).collect(),
            key: Key::of(&number),
        }
    }

    async fn ask(&self, which: usize, operation: Operation<'_>, at: u64) -> Standing {
        let now = Some(StoreMoment::from_micros(at));
        let rates = &self.each[which].1;
        let answer = rates.ask_at(self.key, operation, now, PATIENCE).await;
        answer.expect("an answer")
    }

    async fn decide(&self, which: usize, cost: u32, at: u64) -> crate::Decision {
        let spelling = self.each[which].1.spelling();
        let standing = self.ask(which, spelling.decide(cost, 0), at).await;
        let told = standing.decisions(spelling, cost, 0);
        *told.expect("the script decides as the rules do").binding()
    }

    async fn left(&self, which: usize, at: u64) -> u32 {
        self.decide(which, 0, at).await.remaining()
    }

    async fn book(&self, which: usize, units: u64, at: u64) {
        let book = Operation::Book {
            units: &[units],
            id: None,
        };
        self.ask(which, book, at).await;
    }
}

fn quotas(texts: &[&str]) -> Vec<Quota> {
    let quota = |text: &&str| text.parse().expect("a quota");
    texts.iter().map(quota).collect()
}

fn micros(wait: Option<Duration>) -> u64 {
    let nanos = wait.expect("it fits some time").as_nanos();
    u64::try_from(nanos.div_ceil(1_000)).expect("within a few windows")
}

#[tokio::test]
async fn what_was_spent_stays_spent_when_a_limit_rises_or_falls() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).expect("an address");
    for (number, (texts, spent, left)) in [
        (["10/h", "20/h"], 5, 15),
        (["100/h", "1000/h"], 100, 900),
        (["100/min", "40/min"], 30, 10),
        (["10/h", "5/h"], 5, 0),
        (["7/min", "11/min"], 3, 8),
        (["90/min burst 10", "90/min burst 20"], 4, 16),
        (["1000000000/s", "2000000000/s"], 300, 1_999_999_700),
    ]
    .into_iter()
    .enumerate()
    {
        let limits = Limits::new(&store, number as u64, &quotas(&texts));
        assert!(limits.decide(0, spent, BEGIN).await.is_allowed());
        assert_eq!(limits.left(1, BEGIN).await, left, "{texts:?}");
        assert_eq!(
            limits.decide(1, left.max(1), BEGIN).await.is_allowed(),
            left > 0
        );
        assert_eq!(limits.left(1, BEGIN).await, 0, "{texts:?}");
        assert!(!limits.decide(1, 1, BEGIN).await.is_allowed());
    }
}

/// Also if it asks all the time.
#[tokio::test]
async fn under_a_changed_limit_whoever_waits_as_told_passes() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).expect("an address");
    for (number, (texts, spent, cost, longest)) in [
        (["10/h", "20/h"], 10, 11, 3 * MINUTE),
        (["10/h", "5/h"], 5, 1, 12 * MINUTE),
        // Half of it at the old pace, and one at the new.
        (["10/h", "5/h"], 10, 1, 42 * MINUTE),
        (["1000/s", "1/s"], 1_000, 1, 2_000_000),
    ]
    .into_iter()
    .enumerate()
    {
        for tries in [1, 7] {
            let number = 10 * number as u64 + tries;
            let limits = Limits::new(&store, number, &quotas(&texts));
            assert!(limits.decide(0, spent, BEGIN).await.is_allowed());
            let denied = limits.decide(1, cost, BEGIN).await;
            let wait = micros(denied.retry_after());
            assert!(wait <= longest, "{texts:?}: {wait}");
            let mut passes = false;
            for asked in 1..=tries {
                let at = BEGIN + wait * asked / tries;
                passes |= limits.decide(1, cost, at).await.is_allowed();
            }
            assert!(passes, "{texts:?} after {wait} in {tries}");
        }
    }
}

/// The version before kept the time alone.
#[tokio::test]
async fn a_state_without_its_interval_counts_as_this_limits_own() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).expect("an address");
    let limits = Limits::new(&store, 0, &quotas(&["10/h", "20/h"]));
    let hash = limits.each[0].1.key(limits.key, "rates");
    let half_an_hour = BEGIN + 30 * MINUTE;
    let script = "redis.call('HSET', KEYS[1], 'g3600000000000', struct.pack('>dd', ARGV[1], 0), \
                  'e', ARGV[2], 'm', ARGV[3])";
    let [tat, ends, booked] = [half_an_hour, half_an_hour / 1_000 + 5_000, BEGIN];
    let numbers = [tat, ends, booked].map(|number| number.to_string());
    let mut call = vec!["EVAL", script, "1", &hash];
    call.extend(numbers.iter().map(String::as_str));
    server.cli(&call);
    assert_eq!(limits.left(0, BEGIN).await, 5);
    assert!(limits.decide(0, 1, BEGIN).await.is_allowed());
    // From now on it is known whose it was.
    assert_eq!(limits.left(0, BEGIN).await, 4);
    assert_eq!(limits.left(1, BEGIN).await, 14);
}

#[tokio::test]
async fn what_was_booked_before_the_limit_changed_takes_nothing_from_others() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).expect("an address");
    let limits = Limits::new(&store, 0, &quotas(&["10/h", "20/h"]));
    let spelling = limits.each[0].1.spelling();
    let standing = limits.ask(0, spelling.decide(5, 0), BEGIN).await;
    let booking: Booking = standing.booking(spelling, 5);
    assert!(limits.decide(1, 1, BEGIN + 1).await.is_allowed());
    // What was booked before is back after fifteen minutes, and counted in another's time it is not.
    let later = BEGIN + 20 * MINUTE;
    assert!(limits.decide(1, 20, later).await.is_allowed());
    let each = &[GiveBack::booked(5, booking)];
    limits
        .ask(0, Operation::GiveBack { each, id: None }, later)
        .await;
    assert_eq!(limits.left(1, later).await, 0);
    // What was booked last goes back as ever.
    let then = StoreMoment::from_micros(later).moment(0);
    let rules = limits.each[1].1.spelling().rules();
    let each = &[GiveBack::last([5].into(), rules, then)];
    limits
        .ask(1, Operation::GiveBack { each, id: None }, later)
        .await;
    assert_eq!(limits.left(1, later).await, 5);
}

#[tokio::test]
async fn processes_that_do_not_agree_on_the_limit_admit_no_more_than_the_larger() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(server.url()).expect("an address");
    let (mut went_over, mut stayed) = (0, 0);
    for seed in 0..60 {
        let bucket = walk(&store, seed).await;
        went_over += bucket.went_over;
        stayed += bucket.stayed;
    }
    assert!(went_over > 100 && stayed > 100, "{went_over}, {stayed}");
}

/// Each step asks one of the limiters, and books or is denied as the bucket in exact numbers is.
async fn walk(store: &RedisStore, seed: u64) -> Bucket {
    let mut random = fastrand::Rng::with_seed(seed);
    let quotas = some_quotas(&mut random);
    let limits = Limits::new(store, 1_000 + seed, &quotas);
    let window = quotas[0].window().as_micros() as u64;
    let (mut bucket, mut now) = (Bucket::default(), BEGIN);
    let mut admitted: Vec<(u64, u32)> = Vec::new();
    // Units booked beyond a limit are nobody's who was admitted.
    let books = seed.is_multiple_of(3);
    for step in 0..150 {
        now += match random.u32(..12) {
            0 => random.u64(..=window),
            1..=3 => 0,
            _ => random.u64(..=window / 10 + 1),
        };
        let which = random.usize(..quotas.len());
        let quota = quotas[which];
        let cost = match random.u32(..6) {
            0 => random.u32(1..=quota.burst_size()),
            _ => random.u32(1..=quota.burst_size() / 5 + 1),
        };
        let told = format!("{quotas:?}, seed {seed}, step {step}, {cost} of {which} at {now}");
        if books && random.u32(..15) == 0 {
            limits.book(which, cost.into(), now).await;
            bucket.book(&quota, cost, now);
            continue;
        }
        let expected = bucket.decide(&quota, cost, now);
        let decision = limits.decide(which, cost, now).await;
        assert_eq!(decision, expected, "{told}");
        if decision.is_allowed() {
            admitted.push((now, cost));
        }
    }
    assert!(admitted.len() > 5, "{quotas:?} admit too little");
    if !books {
        let largest = quotas.iter().map(Quota::burst_size).max();
        let fastest = quotas.iter().filter_map(Quota::interval_ticks).min();
        stays_within(&admitted, largest.unwrap_or(0), fastest.unwrap_or(1));
    }
    bucket
}

/// In every stretch of time no more than a burst, and what comes back in it.
fn stays_within(admitted: &[(u64, u32)], burst: u32, interval: u64) {
    for (first, (begin, _)) in admitted.iter().enumerate() {
        let mut sum = 0;
        for (end, cost) in &admitted[first..] {
            sum += u128::from(*cost);
            let back = u128::from((end - begin) * TICKS_PER_MICRO) / u128::from(interval);
            assert!(
                sum <= u128::from(burst) + back,
                "{sum} from {begin} to {end}"
            );
        }
    }
}

/// Of one window.
fn some_quotas(random: &mut fastrand::Rng) -> Vec<Quota> {
    let window = match random.u32(..4) {
        0 => Duration::from_micros(random.u64(1_000..1_000_000_000)),
        1 => Duration::from_secs(86_400 * 100),
        _ => Duration::from_secs(random.u64(1..=3_600)),
    };
    let quota = |random: &mut fastrand::Rng| {
        let limit = match random.u32(..5) {
            0 => random.u32(1..=u32::MAX),
            1 => random.u32(1..=100_000),
            _ => random.u32(1..=60),
        };
        let quota = Quota::new(limit, window).expect("a window within bounds");
        match random.u32(..4) {
            0 => quota.try_burst(random.u32(1..=limit)).unwrap_or(quota),
            _ => quota,
        }
    };
    let count = random.usize(2..=3);
    (0..count).map(|_| quota(random)).collect()
}

/// What the script keeps, in ticks.
#[derive(Debug, Default)]
struct Bucket {
    tat: u64,
    /// Under which `tat` is counted; 0 for none.
    interval: u64,
    /// How often it was found counted under another limit: so little that it went over, or too much.
    went_over: u32,
    stayed: u32,
}

impl Bucket {
    fn decide(&mut self, quota: &Quota, cost: u32, now: u64) -> crate::Decision {
        let rules = RuleSet::new(&[Policy::from(*quota)]);
        let at = StoreMoment::from_micros(now).moment(0);
        if !self.go_over(quota, now) {
            let own = interval(quota) * u64::from(quota.burst_size());
            let others = self.interval * u64::from(quota.burst_size());
            return rules.ask(&[self.tat - others + own], cost, at);
        }
        let mut state = [self.tat];
        let decision = rules.decide(&mut state, cost, at);
        [self.tat] = state;
        decision
    }

    fn book(&mut self, quota: &Quota, units: u32, now: u64) {
        self.go_over(quota, now);
        let from = self.tat.max(now * TICKS_PER_MICRO);
        self.tat = from + self.interval * u64::from(units);
    }

    /// Whether it is counted under `quota` now.
    fn go_over(&mut self, quota: &Quota, now: u64) -> bool {
        let (from, own, now) = (self.interval, interval(quota), now * TICKS_PER_MICRO);
        if from == 0 {
            self.interval = own;
        }
        if from == 0 || from == own {
            return true;
        }
        let used = self.tat.saturating_sub(now);
        let burst = u64::from(quota.burst_size());
        if own > from && used > from * burst {
            self.stayed += 1;
            return false;
        }
        self.went_over += 1;
        let units = used / from;
        if units < 1 << 32 {
            self.tat = now + units * own + part_of_unit(used % from, from, own);
        }
        self.interval = own;
        true
    }
}

/// The part of `own` that `rest` is of `from`, in whole microseconds and rounded up.
fn part_of_unit(rest: u64, from: u64, own: u64) -> u64 {
    let (rest, from) = (rest.div_ceil(TICKS_PER_MICRO), from / TICKS_PER_MICRO);
    if rest == 0 {
        return 0;
    }
    if rest >= from {
        return own;
    }
    let micros = u128::from(own.div_ceil(TICKS_PER_MICRO)) * u128::from(rest) / u128::from(from);
    let micros = u64::try_from(micros).expect("a part of it") + 1;
    (micros * TICKS_PER_MICRO).min(own)
}

fn interval(quota: &Quota) -> u64 {
    quota.interval_ticks().expect("it allows something")
}
