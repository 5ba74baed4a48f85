//! The script answers as the rules of this process: seeded walks through both, answer by answer, under one quota of each
//! kind and under several at once.
//!
//! A walk decides, books, gives back and peeks on one key, at moments that mostly go on and sometimes back. It knows
//! from its own states what to send next, so many steps are under way at a time.

use crate::decision::{Decisions, Policy, PolicyName};
use crate::key::Key;
use crate::quota::{Calendar, Quota};
use crate::rule::{Refund, RuleSet};
use crate::store::redis::rates::{MessageId, Operation, Rates, Spelling, Standing, StoreMoment};
use crate::store::{RedisStore, StoreError};
use futures_util::future::join_all;
use std::time::Duration;
use tidegate_test_support::RedisServer;

const STEPS: usize = 250;
/// So few are sent in the order in which they are made.
const AT_A_TIME: usize = 25;
const PATIENCE: Duration = Duration::from_secs(60);
/// In the middle of 2026.
const BEGIN: u64 = 6 * YEAR + YEAR / 2;
const END: u64 = BEGIN + 5 * YEAR;
const MINUTE: u64 = 60_000_000;
const YEAR: u64 = 365 * 86_400 * 1_000_000;

#[test]
fn the_script_decides_as_the_rules_do() {
    walk_through_all(20_000);
}

/// A hundred thousand decisions for each kind: `cargo test --all-features --lib larger -- --ignored`.
#[test]
#[ignore = "takes one to two minutes"]
fn larger_the_script_decides_as_the_rules_do() {
    walk_through_all(100_000);
}

/// As far as the end is set, and the key has a time to live: what is short for one rule must not drop another's counts.
#[tokio::test]
async fn a_key_lives_until_its_counts_are_over_and_seconds_longer() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let hourly = Quota::new(10, Duration::from_secs(3_600)).expect("a window within bounds");
    let (fixed, sliding) = (hourly.fixed(), hourly.sliding());
    // Booked on at these minutes of an hour, until which ones does a key count?
    let booked = [0, 1, 61];
    let cases = [
        (vec![hourly], [6, 12, 67]),
        (vec![fixed], [60, 60, 120]),
        (vec![sliding], [120, 120, 180]),
        (vec![fixed, sliding], [120, 120, 180]),
    ];
    let store = RedisStore::new(server.url()).expect("an address");
    let begin = BEGIN - BEGIN % (60 * MINUTE);
    for (number, (quotas, counts)) in cases.into_iter().enumerate() {
        let policies: Vec<Policy> = quotas.into_iter().map(Policy::from).collect();
        let spelling = Spelling::new(&policies).expect("whole microseconds");
        let rates = Rates::new(store.clone(), "ends", spelling);
        let key = Key::of(&(number as u64));
        let hash = rates.key(key, "rates");
        for (minute, until) in booked.into_iter().zip(counts) {
            let now = StoreMoment::from_micros(begin + minute * MINUTE);
            let decide = rates.spelling().decide(1, 0);
            let answer = rates.ask_at(key, decide, Some(now), PATIENCE).await;
            assert!(answer.expect("an answer").booked());
            let ends = server.cli(&["HGET", &hash, "e"]).text();
            let ends = ends.parse::<u64>().expect("milliseconds") - begin / 1_000;
            let left = server.cli(&["PTTL", &hash]).integer() as u64;
            let told = format!("{policies:?} at {minute} min: {ends} ms, {left} ms left");
            let until_ms = until * 60_000;
            assert!((until_ms..=until_ms + 5_002).contains(&ends), "{told}");
            // The server's own clock is another one: it is still early in what it was told.
            assert!(left > (until - minute) * 30_000, "{told}");
            assert!(left <= until_ms + 5_012, "{told}");
        }
    }
}

/// Two of many senders, and more than are remembered: what is repeated or was overtaken changes nothing.
#[tokio::test]
async fn a_message_counts_once_however_often_it_comes() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let quota = Quota::new(1_000, Quota::MAX_WINDOW).expect("a window within bounds");
    let store = RedisStore::new(server.url()).expect("an address");
    let spelling = Spelling::new(&[quota.fixed().into()]).expect("whole microseconds");
    let rates = Rates::new(store, "messages", spelling);
    let key = Key::of("a");
    let tell = async |sender: u64, number: u64, undo: bool| {
        let id = Some(MessageId { sender, number });
        let operation = match undo {
            true => Operation::Undo { units: &[1], id },
            false => Operation::Book { units: &[1], id },
        };
        rates.ask(key, operation, PATIENCE).await.expect("heard");
        let standing = rates.ask(key, Operation::Ask(0), PATIENCE).await;
        let decisions = standing
            .expect("an answer")
            .decisions(rates.spelling(), 0, 0);
        1_000 - decisions.expect("as here").binding().remaining()
    };
    let largest = (1 << 53) - 1;
    assert_eq!(tell(largest, 8, false).await, 1);
    assert_eq!(tell(largest, 8, false).await, 1);
    assert_eq!(tell(largest, 7, false).await, 1, "overtaken");
    assert_eq!(tell(7, 7, false).await, 2, "another sender");
    assert_eq!(tell(largest, 8, false).await, 2);
    assert_eq!(tell(largest, 9, true).await, 1);
    assert_eq!(tell(largest, 9, true).await, 1);
    for sender in 100..163 {
        tell(sender, 1, false).await;
    }
    assert_eq!(tell(largest, 9, false).await, 64, "the last of 64 senders");
    assert_eq!(tell(7, 7, false).await, 65, "one that was forgotten");
    let left = ["rates", "heard"].map(|what| server.cli(&["PTTL", &rates.key(key, what)]));
    let [counts, heard] = left.map(|left| left.integer());
    assert!(
        heard > 0 && heard.abs_diff(counts) < 60_000,
        "{heard} ms of {counts}"
    );
}

fn walk_through_all(decisions: usize) {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = RedisStore::new(server.url()).expect("an address");
        for kind in KINDS {
            let (mut told, mut allowed, mut seed) = (0, 0, 0);
            while told < decisions {
                let counted = walk(&store, kind, seed).await;
                told += counted.told;
                allowed += counted.allowed;
                seed += 1;
            }
            let part = allowed * 100 / told;
            assert!((5..=95).contains(&part), "{kind:?} allows {part} %");
        }
    });
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    TokenBucket,
    Fixed,
    Sliding,
    Log,
    Soft,
    Calendar,
    Several,
}

const KINDS: [Kind; 7] = [
    Kind::TokenBucket,
    Kind::Fixed,
    Kind::Sliding,
    Kind::Log,
    Kind::Soft,
    Kind::Calendar,
    Kind::Several,
];

#[derive(Default)]
struct Counted {
    told: usize,
    allowed: usize,
}

/// What was sent, with all that it needs, and what must come back.
struct Step {
    now: StoreMoment,
    operation: Sent,
    given_back: u64,
    asked: (u32, u32),
    expected: Decisions,
}

enum Sent {
    Decide,
    Book(Vec<u64>),
    Undo(Vec<u64>),
    GiveBack(Booking, u32),
}

#[derive(Clone)]
struct Booking {
    units: u32,
    booked: StoreMoment,
    given_back: u64,
    marks: Box<[u64]>,
}

async fn walk(store: &RedisStore, kind: Kind, seed: u64) -> Counted {
    let mut random = fastrand::Rng::with_seed(seed << 8 | kind as u64);
    let policies = policies(kind, &mut random);
    let spelling = Spelling::new(&policies).expect("whole microseconds");
    let rates = Rates::new(store.clone(), "conformance", spelling);
    let key = Key::of(&(seed, kind as u64));
    // Makes sure that the script is known: else the first ones would come after those that load it.
    let answer = rates.ask(key, Operation::Ask(0), PATIENCE).await;
    answer.expect("an answer");
    let steps = plan(kind, &policies, &mut random);
    let mut answers = Vec::with_capacity(steps.len());
    for some in steps.chunks(AT_A_TIME) {
        let sent = some.iter().map(|step| send(&rates, key, step));
        answers.extend(join_all(sent).await);
    }
    let mut counted = Counted::default();
    for (at, (answer, step)) in answers.into_iter().zip(&steps).enumerate() {
        let told = format!("{policies:?}, seed {seed}, step {at} at {:?}", step.now);
        let standing = answer.unwrap_or_else(|error| panic!("{error}: {told}"));
        assert_eq!(standing.now(), step.now);
        assert_eq!(standing.given_back(), step.given_back, "{told}");
        if let Sent::Decide = step.operation {
            let (cost, random) = step.asked;
            let decisions = standing.decisions(rates.spelling(), cost, random);
            let decisions = decisions.unwrap_or_else(|error| panic!("{error}: {told}"));
            assert_eq!(decisions, step.expected, "{told} of {cost}");
            counted.told += 1;
            counted.allowed += usize::from(decisions.is_allowed());
        }
    }
    counted
}

async fn send(rates: &Rates, key: Key, step: &Step) -> Result<Standing, StoreError> {
    let (cost, random) = step.asked;
    let operation = match &step.operation {
        Sent::Decide => rates.spelling().decide(cost, random),
        Sent::Book(units) => Operation::Book { units, id: None },
        Sent::Undo(units) => Operation::Undo { units, id: None },
        Sent::GiveBack(booking, units) => Operation::GiveBack {
            units: *units,
            booked: booking.booked,
            given_back: booking.given_back,
            marks: &booking.marks,
        },
    };
    let answer = rates.ask_at(key, operation, Some(step.now), PATIENCE);
    answer.await
}

/// Walks through the rules of this process.
fn plan(kind: Kind, policies: &[Policy], random: &mut fastrand::Rng) -> Vec<Step> {
    let rules = RuleSet::new(policies);
    let shortest = policies.iter().map(|policy| policy.quota().window()).min();
    let window = shortest.expect("a policy").as_micros() as u64;
    let most = policies
        .iter()
        .map(|policy| policy.quota().burst_size())
        .min()
        .unwrap_or(1);
    let goes_back = !matches!(kind, Kind::Log | Kind::Several);
    // A clock that is put back by more than a window, or what a bucket holds, is another matter: see `put_back`.
    let bucket = matches!(kind, Kind::TokenBucket);
    let limit = policies.iter().map(|policy| policy.quota().limit()).min();
    let holds = window / u64::from(limit.unwrap_or(0).max(1)) * u64::from(most);
    let back = if bucket { window.min(holds) } else { window } / 2;
    let mut state = vec![0; rules.words()];
    let (mut now, mut given_back, mut seen) = (BEGIN + random.u64(..window), 0, false);
    let mut bookings: Vec<Booking> = Vec::new();
    let mut steps = Vec::with_capacity(STEPS);
    for _ in 0..STEPS {
        now += match random.u32(..20) {
            0 => random.u64(..=3 * window),
            1 => window,
            2..=5 => 0,
            _ => random.u64(..=window / 8 + 1),
        };
        if goes_back && random.u32(..30) == 0 {
            now -= random.u64(..=back);
        }
        now = now.min(END);
        let moment = StoreMoment::from_micros(now);
        let drawn = random.u32(..);
        let at = moment.moment(drawn);
        let cost = match random.u32(..10) {
            0 => 0,
            1 => random.u32(..=most + 1),
            _ => random.u32(1..=most / 3 + 1),
        };
        let before = given_back;
        let (mut expected, mut asked) = (rules.ask_each(&state, 0, at), (0, 0));
        let operation = match random.u32(..24) {
            0 => {
                let units = vec![u64::from(cost); policies.len()];
                rules.book(&mut state, cost, at);
                seen |= cost > 0;
                Sent::Book(units)
            }
            1 => {
                rules.give_back_last(&mut state, cost, at);
                given_back += if seen { u64::from(cost) } else { 0 };
                Sent::Undo(vec![u64::from(cost); policies.len()])
            }
            2..=5 if !bookings.is_empty() => {
                let booking = bookings.swap_remove(random.usize(..bookings.len()));
                let units = random.u32(..=booking.units);
                let refund = Refund {
                    units,
                    booked: booking.booked.moment(0).now,
                    others: given_back - booking.given_back,
                };
                rules.give_back(&mut state, refund, &booking.marks, at);
                given_back += u64::from(units);
                Sent::GiveBack(booking, units)
            }
            _ => {
                expected = rules.decide_each(&mut state, cost, at);
                asked = (cost, drawn);
                if cost > 0 && expected.is_allowed() {
                    seen = true;
                    bookings.push(Booking {
                        units: cost,
                        booked: moment,
                        given_back,
                        marks: rules.marks(&state),
                    });
                }
                Sent::Decide
            }
        };
        steps.push(Step {
            now: moment,
            operation,
            given_back: before,
            asked,
            expected,
        });
    }
    steps
}

fn policies(kind: Kind, random: &mut fastrand::Rng) -> Vec<Policy> {
    let kinds: &[Kind] = match kind {
        Kind::Several => &KINDS[..KINDS.len() - 1],
        _ => &[kind],
    };
    let count = match kind {
        Kind::Several => random.usize(2..=4),
        _ => 1,
    };
    let policy = |number: usize| {
        let kind = kinds[random.usize(..kinds.len())];
        let name = PolicyName::new(&format!("policy-{number}")).expect("a name");
        Policy::new(name, quota(kind, random))
    };
    (0..count).map(policy).collect()
}

/// Mostly small ones with short windows, and some of the largest.
fn quota(kind: Kind, random: &mut fastrand::Rng) -> Quota {
    let limit = match random.u32(..20) {
        0 => 0,
        1 | 2 => random.u32(..=u32::MAX),
        3..=8 => random.u32(1..=5_000),
        _ => random.u32(1..=20),
    };
    let window = match random.u32(..10) {
        0 => Quota::MAX_WINDOW,
        1 => Quota::MIN_WINDOW,
        2 => Duration::from_micros(random.u64(1_000..1_000_000_000)),
        _ => Duration::from_secs(random.u64(1..=100)),
    };
    let quota = Quota::new(limit, window).expect("a window within bounds");
    match kind {
        Kind::TokenBucket if random.bool() => {
            let burst = random.u32(..=limit.saturating_mul(2).max(1));
            quota.try_burst(burst).unwrap_or(quota)
        }
        Kind::TokenBucket => quota,
        Kind::Fixed => quota.fixed(),
        Kind::Sliding => quota.sliding(),
        Kind::Log => {
            let quota = Quota::new(limit.min(200), window).expect("a window within bounds");
            quota.sliding_log()
        }
        Kind::Soft => quota.soft(limit.min(1).max(limit / 2)),
        Kind::Calendar => {
            let calendar = [Calendar::HOUR, Calendar::DAY, Calendar::MONTH][random.usize(..3)];
            Quota::calendar(limit, calendar.utc_offset(random.i16(-1_080..=1_080)))
        }
        Kind::Several => unreachable!("several are of the other kinds"),
    }
}
