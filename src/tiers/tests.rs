//! Tiers against a look-up that answers when the test says so, on a clock that the test moves.

use super::*;
use crate::decision::Verdict;
use crate::error::ConfigError;
use crate::key::Key;
use crate::limiter::AnyLimiter;
use crate::limits::{Limits, Plan};
use crate::quota::Quota;
use crate::tiers::handle::Whose;
use crate::time::{Clock, ManualClock};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

const TTL: Duration = Duration::from_secs(60);
const STALE_FOR: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(3600);
const PAUSE: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_nanos(1);

/// Where the tiers are looked up.
#[derive(Debug)]
struct Desk {
    calls: AtomicU32,
    says: Mutex<Result<Option<Tier>, &'static str>>,
    /// A permit for each answer.
    answers: Semaphore,
}

impl Desk {
    async fn ask(&self) -> Result<Option<Tier>, &'static str> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.answers.acquire().await.unwrap().forget();
        let says = self.says.lock().unwrap().clone();
        assert_ne!(says, Err("panic"), "as the test wants it");
        says
    }

    fn says(&self, says: Result<Option<Tier>, &'static str>) {
        *self.says.lock().unwrap() = says;
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    fn answer(&self, times: usize) {
        self.answers.add_permits(times);
    }
}

struct Bed {
    tiers: Tiers,
    seen: SeenTiers<AnyLimiter>,
    desk: Arc<Desk>,
    lever: ManualClock,
}

fn plan(pro: u32) -> Plan {
    let plan = Plan::new().limit("strangers", Quota::per_hour(1)).unwrap();
    let plan = plan.limit("free", Quota::per_hour(2)).unwrap();
    plan.limit("pro", Quota::per_hour(pro)).unwrap()
}

/// Tiers of a desk that says `pro`, whose answers the test has to let go.
fn bed(set: impl FnOnce(TiersBuilder) -> TiersBuilder) -> Bed {
    let (clock, lever) = Clock::manual();
    lever.advance(Duration::from_secs(1_000_000));
    let desk = Arc::new(Desk {
        calls: AtomicU32::new(0),
        says: Mutex::new(Ok(Some(Tier::named("pro")))),
        answers: Semaphore::new(0),
    });
    let asked = Arc::clone(&desk);
    let look_up = move |_| {
        let desk = Arc::clone(&asked);
        async move { desk.ask().await }
    };
    let limits = Limits::on(&plan(10), clock.clone());
    let builder = Tiers::builder(limits, "strangers", look_up)
        .cache(1_000, TTL)
        .stale_for(STALE_FOR)
        .patience(PATIENCE, PAUSE)
        .clock(clock);
    let tiers = set(builder).build().unwrap();
    Bed {
        seen: SeenTiers::new(tiers.clone()),
        tiers,
        desk,
        lever,
    }
}

impl Bed {
    fn now(&self, identity: &str) -> Option<Found> {
        match self.tiers.find(identity) {
            Finding::Now(found) => Some(found),
            Finding::Later(_) => None,
        }
    }

    async fn found(&self, identity: &str) -> Found {
        match self.tiers.find(identity) {
            Finding::Now(found) => found,
            Finding::Later(later) => later.await,
        }
    }

    fn limiter(&self, found: &Found) -> Option<AnyLimiter> {
        self.seen.of(found, Clone::clone)
    }

    /// The name of the limit.
    fn name(&self, found: &Found) -> Option<&'static str> {
        Some(self.limiter(found)?.policy().name().as_str())
    }

    /// Looks an identity up whose answer is `says`.
    async fn learn(&self, identity: &str, says: Result<Option<Tier>, &'static str>) -> Found {
        self.desk.says(says);
        self.desk.answer(1);
        let found = self.found(identity).await;
        settle().await;
        found
    }
}

/// Until all that can go on has gone on: tests run on one thread.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn all_who_ask_for_one_identity_share_one_look_up() {
    let bed = bed(|it| it);
    let waiting: Vec<_> = (0..50)
        .map(|_| match bed.tiers.find("alice") {
            Finding::Later(later) => later,
            Finding::Now(found) => panic!("{found:?} before anybody was asked"),
        })
        .collect();
    let other = bed.tiers.find("bob");
    settle().await;
    assert_eq!(bed.desk.calls(), 2);
    bed.desk.answer(2);
    for found in futures_util::future::join_all(waiting).await {
        assert_eq!(bed.name(&found), Some("pro"));
        assert_eq!(found.key(), Some(Key::of("alice")));
    }
    drop(other);
    settle().await;
    assert!(bed.now("alice").is_some() && bed.now("bob").is_some());
    assert_eq!(bed.desk.calls(), 2);
    assert_eq!(bed.tiers.stats().lookups, 2);
}

#[tokio::test]
async fn a_request_that_is_given_up_does_not_stop_the_look_up_for_others() {
    let bed = bed(|it| it);
    let (given_up, patient) = (bed.tiers.find("alice"), bed.tiers.find("alice"));
    settle().await;
    drop(given_up);
    bed.desk.answer(1);
    let Finding::Later(patient) = patient else {
        panic!("nobody was asked")
    };
    assert_eq!(bed.name(&patient.await), Some("pro"));
    assert_eq!(bed.desk.calls(), 1);
}

#[tokio::test]
async fn an_old_answer_is_used_while_one_look_up_renews_it_and_then_no_longer() {
    let bed = bed(|it| it);
    let _ = bed.learn("alice", Ok(Some(Tier::named("pro")))).await;
    bed.lever.advance(TTL - MOMENT);
    assert!(bed.now("alice").is_some());
    settle().await;
    assert_eq!(bed.desk.calls(), 1);

    bed.lever.advance(MOMENT);
    bed.desk.says(Ok(Some(Tier::named("free"))));
    for _ in 0..10 {
        let found = bed.now("alice").expect("nobody waits");
        assert_eq!(bed.name(&found), Some("pro"));
        settle().await;
    }
    assert_eq!((bed.desk.calls(), bed.tiers.stats().stale), (2, 10));
    bed.desk.answer(1);
    settle().await;
    assert_eq!(bed.name(&bed.now("alice").unwrap()), Some("free"));

    bed.lever.advance(TTL + STALE_FOR - MOMENT);
    assert!(bed.now("alice").is_some());
    bed.lever.advance(MOMENT);
    assert!(bed.now("alice").is_none(), "too old to be used");
}

#[tokio::test]
async fn who_has_an_answer_keeps_it_while_look_ups_fail_and_they_are_rare_then() {
    let bed = bed(|it| it.on_failure(OnFailure::Deny));
    let _ = bed.learn("alice", Ok(Some(Tier::named("pro")))).await;
    bed.desk.says(Err("the database is away"));
    bed.desk.answer(1_000);
    bed.lever.advance(TTL);
    let rounds = 20;
    for round in 0..rounds {
        for _ in 0..10 {
            let found = bed.now("alice").expect("nobody waits");
            assert_eq!(bed.name(&found), Some("pro"));
            settle().await;
        }
        assert_eq!(bed.desk.calls(), 2 + round);
        bed.lever.advance(PAUSE);
    }
    assert_eq!(bed.tiers.stats().failures, u64::from(rounds));
    // The end that the answer had from the first does not move.
    bed.lever.advance(STALE_FOR - PAUSE * rounds);
    let found = bed.found("alice").await;
    assert!(bed.limiter(&found).is_none(), "denied");
    assert_eq!(bed.now("alice").and_then(|it| bed.name(&it)), None);
    let calls = bed.desk.calls();
    // And back.
    bed.lever.advance(PAUSE);
    let found = bed.learn("alice", Ok(Some(Tier::named("pro")))).await;
    assert_eq!(bed.name(&found), Some("pro"));
    assert_eq!(bed.desk.calls(), calls + 1);
}

#[tokio::test]
async fn of_whom_nothing_is_known_the_policy_speaks() {
    let bed = bed(|it| it);
    let found = bed.learn("alice", Err("the database is away")).await;
    assert_eq!((bed.name(&found), found.key()), (Some("strangers"), None));
    // A failure is remembered, too.
    assert_eq!(bed.name(&bed.now("alice").unwrap()), Some("strangers"));
    assert_eq!(bed.desk.calls(), 1);
}

#[tokio::test]
async fn that_nobody_is_known_is_remembered_for_a_time_of_its_own() {
    let bed = bed(|it| it.unknown_for(PAUSE));
    let found = bed.learn("made-up", Ok(None)).await;
    assert_eq!((bed.name(&found), found.key()), (Some("strangers"), None));
    bed.lever.advance(PAUSE - MOMENT);
    assert!(bed.now("made-up").is_some());
    assert_eq!(bed.desk.calls(), 1);
    bed.lever.advance(MOMENT);
    let found = bed.learn("made-up", Ok(Some(Tier::named("free")))).await;
    assert_eq!(bed.name(&found), Some("free"));
}

#[tokio::test]
async fn a_look_up_that_panics_leaves_nobody_waiting() {
    let bed = bed(|it| it);
    let found = bed.learn("alice", Err("panic")).await;
    assert_eq!(bed.name(&found), Some("strangers"));
    assert_eq!(bed.tiers.stats().failures, 1);
    bed.lever.advance(PAUSE);
    let found = bed.learn("alice", Ok(Some(Tier::named("pro")))).await;
    assert_eq!(bed.name(&found), Some("pro"));
}

#[tokio::test]
async fn an_identity_that_is_empty_or_endless_is_a_strangers_and_not_looked_up() {
    let bed = bed(|it| it);
    bed.desk.answer(9);
    let longest = "x".repeat(Tiers::LONGEST_IDENTITY);
    for nobody in ["", &(longest.clone() + "x"), &"x".repeat(1_000_000)] {
        let found = bed.now(nobody).expect("nothing to wait for");
        assert_eq!(found.key(), None);
        assert!(matches!(found.0, Whose::Stranger));
    }
    assert_eq!((bed.desk.calls(), bed.tiers.stats().lookups), (0, 0));
    assert_eq!(bed.tiers.stats().keys, 0);
    for somebody in ["x", &longest] {
        assert_eq!(bed.found(somebody).await.key(), Some(Key::of(somebody)));
    }
    assert_eq!(bed.desk.calls(), 2);
}

#[test]
fn a_look_up_whose_runtime_ends_leaves_nobody_waiting() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap()
    };
    let bed = bed(|it| it);
    let theirs = runtime();
    let finding = theirs.block_on(async {
        let finding = bed.tiers.find("alice");
        settle().await;
        finding
    });
    let Finding::Later(later) = finding else {
        panic!("nobody was asked")
    };
    drop(theirs);
    let found = runtime().block_on(later);
    assert_eq!(bed.name(&found), Some("strangers"));
    assert_eq!(bed.tiers.stats().failures, 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_patience() {
    let bed = bed(|it| it.patience(Duration::from_secs(2), PAUSE));
    let began = tokio::time::Instant::now();
    let found = bed.found("alice").await;
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_eq!(bed.name(&found), Some("strangers"));
    settle().await;
    assert_eq!(bed.tiers.stats().failures, 1);
    // What comes after the patience is not waited for by anybody.
    bed.desk.answer(1);
    settle().await;
    assert_eq!(bed.name(&bed.now("alice").unwrap()), Some("strangers"));
}

#[tokio::test]
async fn a_flood_of_identities_begins_only_so_many_look_ups() {
    let bed = bed(|it| it.lookups(3).cache(100, TTL));
    let waiting: Vec<_> = (0..200)
        .map(|it| bed.tiers.find(&format!("made-up {it}")))
        .collect();
    let later = |it: &&Finding| matches!(it, Finding::Later(_));
    assert_eq!(waiting.iter().filter(later).count(), 3);
    let stats = bed.tiers.stats();
    assert_eq!((stats.lookups, stats.refused), (3, 197));
    for finding in &waiting[3..] {
        let Finding::Now(found) = finding else {
            panic!("there were three already")
        };
        assert_eq!(bed.name(found), Some("strangers"));
    }
    bed.desk.says(Ok(None));
    bed.desk.answer(10_000);
    for round in 0..5_000 {
        let _ = bed.found(&format!("made-up {round}")).await;
        settle().await;
    }
    assert!(bed.tiers.stats().keys <= 100, "{:?}", bed.tiers.stats());
}

#[tokio::test]
async fn a_stale_answer_that_could_not_be_renewed_is_renewed_when_there_is_room() {
    let bed = bed(|it| it.lookups(1));
    let _ = bed.learn("alice", Ok(Some(Tier::named("pro")))).await;
    bed.lever.advance(TTL);
    let _in_the_way = bed.tiers.find("bob");
    assert!(bed.now("alice").is_some());
    assert_eq!(bed.tiers.stats().refused, 1);
    bed.desk.says(Ok(Some(Tier::named("free"))));
    bed.desk.answer(2);
    settle().await;
    assert_eq!(bed.name(&bed.now("alice").unwrap()), Some("pro"));
    settle().await;
    assert_eq!(bed.name(&bed.now("alice").unwrap()), Some("free"));
}

#[tokio::test]
async fn a_quota_of_ones_own_keeps_its_count_when_it_changes() {
    let bed = bed(|it| it.quotas(3, "contract"));
    let check = |found: &Found, cost| {
        let limiter = bed.limiter(found).unwrap();
        let decision = limiter
            .as_local()
            .unwrap()
            .check(&found.key().unwrap(), cost);
        (decision.outcome(), decision.remaining())
    };
    let own = |limit| Ok(Some(Tier::quota(Quota::per_hour(limit))));
    let alice = bed.learn("alice", own(10)).await;
    let bob = bed.learn("bob", own(10)).await;
    assert_eq!(bed.name(&alice), Some("contract"));
    assert_eq!(check(&alice, 7), (Verdict::Allow, 3));
    assert_eq!(check(&bob, 1), (Verdict::Allow, 9));
    for (limit, remaining) in [(20, 13), (5, 0), (10, 3)] {
        bed.tiers.forget("alice");
        let alice = bed.learn("alice", own(limit)).await;
        assert_eq!(check(&alice, 0).1, remaining, "{limit}");
        bed.lever.advance(MOMENT);
    }
    assert_eq!(bed.tiers.stats().quotas, 3);
}

#[tokio::test]
async fn identities_that_count_together_have_the_newest_quota_at_once_and_one_count() {
    let bed = bed(|it| it);
    let customer = Key::of(&("customer", 17u64));
    let own = |limit| {
        let tier = Tier::quota(Quota::per_hour(limit)).counted_as(customer);
        Ok(Some(tier))
    };
    let spend = |identity: &str, cost| {
        let found = bed.now(identity).expect("it is remembered");
        let limiter = bed.limiter(&found).unwrap();
        let decision = limiter.as_local().unwrap().check(&customer, cost);
        (decision.outcome(), decision.remaining())
    };
    for identity in ["key 1", "key 2"] {
        let _ = bed.learn(identity, own(10)).await;
    }
    assert_eq!(spend("key 1", 4), (Verdict::Allow, 6));
    // One of them is told of another quota; the other one's answer is still fresh.
    bed.tiers.forget("key 1");
    let _ = bed.learn("key 1", own(20)).await;
    assert_eq!(spend("key 2", 9), (Verdict::Allow, 7));
    assert_eq!(spend("key 1", 7), (Verdict::Allow, 0));
    assert_eq!(spend("key 2", 1).0, Verdict::Deny);
    bed.tiers.forget("key 2");
    let _ = bed.learn("key 2", own(20)).await;
    assert_eq!(spend("key 2", 1).0, Verdict::Deny);
}

#[tokio::test]
async fn more_different_quotas_than_there_may_be_are_a_failure() {
    let bed = bed(|it| it.quotas(1, "own"));
    let own = |limit| Ok(Some(Tier::quota(Quota::per_hour(limit))));
    let _ = bed.learn("alice", own(10)).await;
    let found = bed.learn("bob", own(11)).await;
    assert_eq!(bed.name(&found), Some("strangers"));
    assert_eq!(bed.tiers.stats().failures, 1);
    let found = bed.learn("carol", own(10)).await;
    assert_eq!(bed.name(&found), Some("own"));
}

#[tokio::test]
async fn identities_may_count_together() {
    let bed = bed(|it| it);
    let customer = Key::of(&("customer", 17u64));
    let tier = || Ok(Some(Tier::named("free").counted_as(customer)));
    for identity in ["key 1", "key 2"] {
        assert_eq!(bed.learn(identity, tier()).await.key(), Some(customer));
    }
}

#[tokio::test]
async fn a_tier_that_the_plan_has_not_is_a_strangers_until_it_has() {
    let bed = bed(|it| it);
    let found = bed.learn("alice", Ok(Some(Tier::named("gold")))).await;
    assert_eq!(bed.name(&found), Some("strangers"));
    assert_eq!(bed.tiers.stats().missing, 1);
    let with_gold = plan(10).limit("gold", Quota::per_hour(99)).unwrap();
    bed.tiers.limits().change(&with_gold).unwrap();
    assert_eq!(bed.name(&bed.now("alice").unwrap()), Some("gold"));
    // Without a limit for strangers nobody has one whom nobody knows.
    let alone = Plan::new().limit("gold", Quota::per_hour(99)).unwrap();
    bed.tiers.limits().change(&alone).unwrap();
    assert_eq!(bed.name(&bed.now("alice").unwrap()), Some("gold"));
    assert_eq!(bed.name(&Found::STRANGER), None);
}

#[tokio::test]
async fn what_was_forgotten_is_waited_for() {
    let bed = bed(|it| it);
    bed.tiers.forget("alice");
    let _ = bed.learn("alice", Ok(Some(Tier::named("free")))).await;
    bed.tiers.forget("alice");
    assert!(bed.now("alice").is_none());
    let found = bed.learn("alice", Ok(Some(Tier::named("pro")))).await;
    assert_eq!(bed.name(&found), Some("pro"));
}

#[test]
fn what_cannot_work_is_refused() {
    let builder = |strangers: &str| {
        let limits = Limits::new(&plan(1));
        Tiers::builder(limits, strangers, async |_| Ok::<_, ConfigError>(None))
    };
    let ms = Duration::from_millis(1);
    assert!(builder("free").build().is_ok());
    for (builder, instead) in [
        (builder("nobody"), "free, pro, strangers"),
        (builder("free").cache(0, ms), "write 1 or more"),
        (builder("free").cache(1, Duration::ZERO), "1ms"),
        (builder("free").unknown_for(Duration::ZERO), "1ms"),
        (builder("free").stale_for(Duration::MAX), "2592000s"),
        (builder("free").patience(Duration::ZERO, ms), "1ms"),
        (builder("free").patience(ms, Duration::ZERO), "1ms"),
        (builder("free").lookups(0), "write 1 or more"),
        (builder("free").quotas(0, "own"), "write 1 or more"),
        (builder("free").quotas(1, "my own"), "letters"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(instead), "{error}");
    }
}
