//! The script answers as the rules of this process: seeded walks through both, answer by answer, under one quota of each
//! kind and under several at once.
//!
//! A walk decides, books, gives back and peeks on one key, at moments that mostly go on and sometimes back. It knows
//! from its own states what to send next, so many steps are under way at a time.

use crate::decision::{Decisions, Policy, PolicyName};
use crate::key::Key;
use crate::quota::{Calendar, Quota};
use crate::rule::{Moment, Refund, Rule, RuleSet};
use crate::store::redis::rates::{
    Booking, GiveBack, Operation, Rates, Spelling, Standing, StoreMoment,
};
use crate::store::{RedisStore, StoreError};
use crate::time::LocalTime;
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

/// Of each kind.
const DECISIONS: usize = 100_000;

#[test]
fn the_script_decides_as_a_token_bucket_does() {
    walk_through(Kind::TokenBucket);
}

#[test]
fn the_script_decides_as_a_fixed_window_does() {
    walk_through(Kind::Fixed);
}

#[test]
fn the_script_decides_as_a_sliding_window_does() {
    walk_through(Kind::Sliding);
}

#[test]
fn the_script_decides_as_a_sliding_log_does() {
    walk_through(Kind::Log);
}

#[test]
fn the_script_decides_as_a_soft_limit_does() {
    walk_through(Kind::Soft);
}

#[test]
fn the_script_decides_as_a_calendar_does() {
    walk_through(Kind::Calendar);
}

#[test]
fn the_script_decides_as_several_rules_at_once_do() {
    walk_through(Kind::Several);
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

fn walk_through(kind: Kind) {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = RedisStore::new(server.url()).expect("an address");
        let (mut told, mut allowed, mut seed) = (0, 0, 0);
        while told < DECISIONS {
            let counted = walk(&store, kind, seed).await;
            told += counted.told;
            allowed += counted.allowed;
            seed += 1;
        }
        let part = allowed * 100 / told;
        assert!((5..=95).contains(&part), "{kind:?} allows {part} %");
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
    GiveBack(Vec<GiveBack>),
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
        Sent::GiveBack(each) => Operation::GiveBack { each, id: None },
    };
    let answer = rates.ask_at(key, operation, Some(step.now), PATIENCE);
    answer.await
}

/// Walks through the rules of this process.
fn plan(kind: Kind, policies: &[Policy], random: &mut fastrand::Rng) -> Vec<Step> {
    let rules = RuleSet::new(policies);
    let single: Vec<Rule> = policies.iter().map(|policy| Rule::new(*policy)).collect();
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
    let interval = window.checked_div(limit.unwrap_or(0).into()).unwrap_or(0);
    let holds = interval * u64::from(most);
    let back = if bucket { window.min(holds) } else { window } / 2;
    let mut state = vec![0; rules.words()];
    let (mut now, mut given_back, mut seen) = (BEGIN + random.u64(..window), 0, false);
    let mut newest = now;
    let mut bookings: Vec<(u32, Booking)> = Vec::new();
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
        now = now.max(newest - back).min(END);
        newest = newest.max(now);
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
                let past = random.u64(..=window / 2) * random.u64(..=1);
                let by = StoreMoment::from_micros(now - past).moment(0);
                give_back_last(policies, &mut state, cost, by, at);
                given_back += if seen { u64::from(cost) } else { 0 };
                let each = vec![u64::from(cost); policies.len()];
                Sent::GiveBack(vec![GiveBack::last(each.into(), &single, by)])
            }
            2..=5 if !bookings.is_empty() => {
                let some = random.usize(1..=bookings.len().min(3));
                let some = (0..some).map(|_| {
                    let at = random.usize(..bookings.len());
                    let (booked, booking) = bookings.swap_remove(at);
                    (random.u32(..=booked), booking)
                });
                let some: Vec<(u32, Booking)> = some.collect();
                for (units, booking) in &some {
                    let refund = Refund {
                        units: *units,
                        booked: booking.booked.moment(0).now,
                        others: given_back - booking.given_back,
                    };
                    rules.give_back(&mut state, refund, &booking.marks, at);
                    given_back += u64::from(*units);
                }
                let each = some.into_iter();
                let each = each.map(|(units, booking)| GiveBack::booked(units, booking));
                Sent::GiveBack(each.collect())
            }
            _ => {
                expected = rules.decide_each(&mut state, cost, at);
                asked = (cost, drawn);
                if cost > 0 && expected.is_allowed() {
                    seen = true;
                    let booking = Booking {
                        booked: moment,
                        given_back,
                        marks: rules.marks(&state),
                        over: LocalTime::NEVER,
                    };
                    bookings.push((cost, booking));
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

/// What the script does with units that were booked last by the moment `by`.
fn give_back_last(policies: &[Policy], state: &mut [u64], units: u32, by: Moment, at: Moment) {
    let mut rest = state;
    for policy in policies {
        let rule = Rule::new(*policy);
        let (own, others) = rest.split_at_mut(rule.words());
        rest = others;
        let refund = |units| Refund {
            units,
            booked: by.now,
            others: 0,
        };
        // The window that `by` is in, of rules that have windows.
        let mut empty = vec![0; rule.words()];
        rule.book(&mut empty, 1, by);
        let here = empty[0];
        match rule {
            // By a mark that is long over, only what cannot be back since counts.
            Rule::Gcra(_) => rule.give_back(own, refund(units), 1, at),
            Rule::FixedWindow(_) | Rule::Calendar(_) => {
                let units = if own[0] <= here { units } else { 0 };
                own[1] = own[1].saturating_sub(units.into());
            }
            Rule::SlidingWindow(_) | Rule::Suppress(_) => {
                if own[0] <= here {
                    own[1] = own[1].saturating_sub(units.into());
                } else if own[0] - 1 == here {
                    own[2] = own[2].saturating_sub(units.into());
                }
            }
            Rule::SlidingLog(_) => {
                let last = by.now.saturating_add(policy.quota().window()).as_nanos();
                let counts = |moment: &u64| (at.now.as_nanos() + 1..=last).contains(moment);
                let mut moments: Vec<u64> = own[1..].iter().copied().filter(counts).collect();
                moments.sort_unstable();
                for moment in moments.into_iter().rev().take(units as usize) {
                    rule.give_back(own, refund(1), moment, at);
                }
            }
        }
    }
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
