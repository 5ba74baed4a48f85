//! The background task of a limiter: sends what the tiers ask, brings them the answers, wakes who waits.

use crate::leased::handle::Unreturned;
use crate::leased::message::{Ask, Told};
use crate::leased::shared::Shared;
use crate::observe;
use crate::store::{StoreError, StoreErrorKind};
use crate::strict::{Change, Heard, Pass};
use crate::time::LocalTime;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The most questions of one message.
const MOST_QUESTIONS: usize = 200;
/// The most messages under way.
const MOST_MESSAGES: usize = 64;
/// The most questions that are taken under one lock.
const MOST_STEPS: usize = 64;
/// Keys of which the store is told at a time what was spent while it was away.
const AT_A_TIME: usize = 64;

/// Somebody closes the limiter, and wants to know how that went.
pub(super) type Close = oneshot::Sender<u64>;

pub(super) struct Task {
    shared: Arc<Shared>,
    messages: FuturesUnordered<BoxFuture<'static, Done>>,
    inbox: mpsc::UnboundedReceiver<Close>,
    closing: Option<Vec<Close>>,
    /// Units that were given back at the end, and of which the store has not said that it has them.
    unreturned: u64,
}

/// A message that is over.
struct Done {
    asks: Vec<Ask>,
    pass: Pass,
    sent: LocalTime,
    answers: Result<Vec<Option<Told>>, StoreError>,
}

impl Task {
    pub(super) fn new(shared: Arc<Shared>, inbox: mpsc::UnboundedReceiver<Close>) -> Self {
        Self {
            shared,
            messages: FuturesUnordered::new(),
            inbox,
            closing: None,
            unreturned: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let mut give_up_at = LocalTime::NEVER;
        loop {
            // Callers that come from here on with something earlier than what is found below wake the task again.
            self.shared.wake_at.store(u64::MAX, Ordering::SeqCst);
            let now = self.shared.parts.clock.now();
            let due = self.send(now);
            if self.closing.is_some() {
                if give_up_at == LocalTime::NEVER {
                    give_up_at = now.saturating_add(self.shared.parts.patience * 2);
                }
                if now >= give_up_at || (self.messages.is_empty() && due == LocalTime::NEVER) {
                    break;
                }
            }
            let woken = self
                .shared
                .wake_at
                .fetch_min(due.as_nanos(), Ordering::SeqCst);
            let due = due.min(LocalTime::from_nanos(woken)).min(give_up_at);
            let wait = due.since(now).min(Duration::from_secs(60));
            tokio::select! {
                Some(done) = self.messages.next(), if !self.messages.is_empty() => self.handle(done),
                () = self.shared.wake.notified() => {}
                close = self.inbox.recv(), if self.closing.is_none() => {
                    self.closing = Some(close.into_iter().collect());
                    self.shared.close();
                    // Where it answers, each answer is followed by more.
                    if self.shared.breaker().is_closed() {
                        self.tell_untold();
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.shared.leave_owed();
        let unreturned = self.unreturned + self.shared.held();
        self.shared.end(match unreturned {
            0 => Ok(()),
            units => Err(Unreturned { units }),
        });
        self.inbox.close();
        let mut waiting = self.closing.take().unwrap_or_default();
        while let Ok(close) = self.inbox.try_recv() {
            waiting.push(close);
        }
        for close in waiting {
            // Whoever does not wait any more need not know.
            let _ = close.send(unreturned);
        }
    }

    /// Sends what is to be sent; answers when to come back.
    fn send(&mut self, now: LocalTime) -> LocalTime {
        let shared = Arc::clone(&self.shared);
        let until = {
            let breaker = shared.breaker();
            breaker.poll_timeout().filter(|_| !breaker.would_pass(now))
        };
        if let Some(until) = until {
            // The next answer, or the end of the pause.
            return until;
        }
        let room = MOST_MESSAGES.saturating_sub(self.messages.len()) * MOST_QUESTIONS;
        if room == 0 {
            return LocalTime::NEVER;
        }
        let mut asks = Vec::new();
        // Allocated before a lock is taken.
        let mut some = Vec::with_capacity(MOST_STEPS);
        let mut due = LocalTime::NEVER;
        let at = shared.now();
        // Round and round, so that nobody who waits for a shard has to wait for all of it.
        let mut more = true;
        while std::mem::take(&mut more) && asks.len() < room {
            for shard in &shared.shards {
                if !shard.busy.load(Ordering::Acquire) {
                    continue;
                }
                let most = MOST_STEPS.min(room - asks.len());
                let mut inner = shard.lock();
                while some.len() < most
                    && let Some(ask) = inner.tier.poll_ask(at)
                {
                    some.push(ask);
                }
                let next = inner.tier.poll_timeout();
                if next == LocalTime::NEVER {
                    shard.busy.store(false, Ordering::Release);
                }
                drop(inner);
                if some.len() == MOST_STEPS {
                    more = true;
                } else {
                    due = due.min(next);
                }
                asks.append(&mut some);
            }
        }
        while !asks.is_empty() {
            let more = asks.split_off(asks.len().min(MOST_QUESTIONS));
            self.ask(asks, now);
            asks = more;
        }
        due
    }

    fn ask(&mut self, asks: Vec<Ask>, sent: LocalTime) {
        let shared = Arc::clone(&self.shared);
        let Some(pass) = shared.breaker().pass(sent) else {
            // One probe at a time.
            self.failed(&asks);
            return;
        };
        let counts = &shared.counts;
        counts.asked.fetch_add(asks.len() as u64, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        self.messages.push(Box::pin(async move {
            let patience = shared.parts.patience;
            let exchange = shared.parts.rates.exchange(&asks, patience, None);
            let answers = tokio::time::timeout(patience, exchange).await;
            let answers = answers.unwrap_or_else(|_| {
                Err(StoreError::new(
                    StoreErrorKind::Timeout,
                    format!("the Redis did not answer within {patience:?}"),
                ))
            });
            Done {
                asks,
                pass,
                sent,
                answers,
            }
        }));
    }

    fn handle(&mut self, done: Done) {
        let now = self.shared.now();
        let change = match &done.answers {
            Ok(_) => self.shared.breaker().handle_answer(done.pass),
            Err(_) => {
                let counts = &self.shared.counts;
                counts.failures.fetch_add(1, Ordering::Relaxed);
                self.shared.breaker().handle_failure(done.pass, now.local)
            }
        };
        match (change, &done.answers) {
            (Change::Opened, Err(error)) => {
                observe::rates_store_away(error);
                self.shared.leave_alone();
            }
            (Change::Closed, _) => observe::rates_store_back(),
            _ => {}
        }
        match done.answers {
            Err(_) => self.failed(&done.asks),
            Ok(answers) => {
                self.shared.note_round_trip(now.local.since(done.sent));
                let mut without = Vec::new();
                for (ask, told) in done.asks.into_iter().zip(answers) {
                    match told {
                        Some(told) => self.answered(&ask, &told, done.sent),
                        None => without.push(ask),
                    }
                }
                self.failed(&without);
                self.tell_untold();
            }
        }
    }

    fn answered(&self, ask: &Ask, told: &Told, sent: LocalTime) {
        let now = self.shared.now();
        self.shared.clock_of_store.note(told.now, now.local);
        let mut served = Vec::new();
        let shard = self.shared.shard(ask.key);
        let mut inner = shard.lock();
        inner
            .tier
            .handle_answer(ask.key, ask.number, told, now, &mut served);
        let denied = &self.shared.parts.denied;
        for outcome in &served {
            if outcome.decisions.is_allowed() {
                denied.refute(ask.key, outcome.cost);
            } else {
                let denial = Heard {
                    cost: outcome.cost,
                    decisions: &outcome.decisions,
                    // The tier has what the store said last.
                    standing: None,
                    wait: outcome.decisions.binding().retry_after(),
                };
                denied.note(ask.key, denial, sent, now.local);
            }
        }
        inner.tell(served, now);
        self.shared.notice(shard, &inner.tier);
    }

    fn failed(&mut self, asks: &[Ask]) {
        let now = self.shared.now();
        for ask in asks {
            let shard = self.shared.shard(ask.key);
            let mut inner = shard.lock();
            let parted = !inner.tier.knows(ask.key);
            let left = inner.tier.handle_failure(ask.key, ask.number, now);
            inner.tell_without(left);
            self.shared.notice(shard, &inner.tier);
            if self.closing.is_some() && parted {
                let gives = ask.lines.iter().map(|line| line.give);
                self.unreturned += u64::from(gives.max().unwrap_or(0));
            }
        }
    }

    /// The store answers: tells it what was spent while it did not, of a few keys at a time.
    fn tell_untold(&self) {
        let untold = &self.shared.parts.untold;
        if untold.keys() == 0 {
            return;
        }
        for key in untold.some(AT_A_TIME) {
            let shard = self.shared.shard(key);
            let mut inner = shard.lock();
            if let Some(units) = untold.take(key, self.shared.moment()) {
                inner.tier.owe(key, &units, self.shared.now());
                self.shared.notice(shard, &inner.tier);
            }
        }
    }
}

/// It may end before it was told to: with its runtime, or by a panic. Whoever waits is not left waiting.
impl Drop for Task {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}
