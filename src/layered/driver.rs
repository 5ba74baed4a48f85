//! The background task of a limiter: sends what the tiers have to send, brings them the answers, wakes who waits.

use crate::key::Key;
use crate::layered::cursor::{Cursor, Pulled};
use crate::layered::exchange::{FlushLine, PublishLine, ReadLine, Totals};
use crate::layered::link::{LinkState, RETRY};
use crate::layered::load::{Load, Progress};
use crate::layered::regions::GlobalSetup;
use crate::layered::shared::Shared;
use crate::layered::time::OriginClock;
use crate::store::redis::layered::Answers;
use crate::store::{RedisStore, StoreError, StoreErrorKind};
use crate::time::LocalTime;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The most cells of one message.
pub(super) const MOST_LINES: usize = 500;
/// The most messages under way.
const MOST_MESSAGES: usize = 64;

/// Somebody closes the limiter, and may want to know how that went.
pub(super) type Close = oneshot::Sender<u64>;

/// What a task is made of.
pub(super) struct TaskSetup {
    pub(super) shared: Arc<Shared>,
    pub(super) origin: RedisStore,
    pub(super) patience: Duration,
    pub(super) clock: OriginClock,
    pub(super) global: Option<GlobalSetup>,
    pub(super) inbox: mpsc::UnboundedReceiver<Close>,
    pub(super) seed: u64,
    /// For the log.
    pub(super) namespace: Arc<str>,
}

pub(super) struct Task {
    pub(super) shared: Arc<Shared>,
    origin: RedisStore,
    pub(super) patience: Duration,
    clock: OriginClock,
    link: LinkState,
    pub(super) global: Option<GlobalSetup>,
    /// One for each policy.
    pub(super) cursors: Vec<Cursor>,
    /// When the global store is asked next; never while it is being asked.
    pub(super) global_at: LocalTime,
    pub(super) random: fastrand::Rng,
    pub(super) messages: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Where the shards are gone over from.
    shard: usize,
    inbox: mpsc::UnboundedReceiver<Close>,
    pub(super) closing: Option<Vec<Close>>,
    pub(super) published_last: bool,
    troubled: bool,
    pub(super) global_troubled: bool,
    /// For the log.
    pub(super) namespace: Arc<str>,
}

/// A message that is over.
pub(super) enum Done {
    Read(
        Vec<ReadLine>,
        LocalTime,
        Result<Answers<Totals>, StoreError>,
    ),
    Flush(Vec<FlushLine>, LocalTime, Result<Answers<u64>, StoreError>),
    Pull(Result<Vec<Result<Pulled, StoreError>>, StoreError>),
    Publish(Vec<PublishLine>, Result<Vec<bool>, StoreError>),
}

impl Task {
    pub(super) fn new(setup: TaskSetup) -> Self {
        let TaskSetup {
            shared,
            origin,
            patience,
            clock,
            global,
            inbox,
            seed,
            namespace,
        } = setup;
        Self {
            global_at: match global {
                Some(_) => LocalTime::ZERO,
                None => LocalTime::NEVER,
            },
            cursors: vec![Cursor::default(); shared.spaces.len()],
            shared,
            origin,
            patience,
            clock,
            link: LinkState::new(),
            global,
            random: fastrand::Rng::with_seed(seed),
            messages: FuturesUnordered::new(),
            shard: 0,
            inbox,
            closing: None,
            published_last: false,
            troubled: false,
            global_troubled: false,
            namespace,
        }
    }

    pub(super) async fn run(mut self) {
        let mut give_up_at = LocalTime::NEVER;
        loop {
            // Callers that come from here on with something earlier than what is found below wake the task again.
            self.shared.wake_at.store(u64::MAX, Ordering::SeqCst);
            let now = self.shared.clock.now();
            let due = self.send(now);
            if self.closing.is_some() {
                if give_up_at == LocalTime::NEVER {
                    give_up_at = now.saturating_add(self.patience * 2);
                }
                let told = self.messages.is_empty() && due == LocalTime::NEVER;
                if now >= give_up_at || (told && !self.publishes_last()) {
                    break;
                }
            }
            self.shared
                .wake_at
                .fetch_min(due.as_nanos(), Ordering::SeqCst);
            let wait = due.min(give_up_at).since(now).min(Duration::from_secs(60));
            tokio::select! {
                Some(done) = self.messages.next(), if !self.messages.is_empty() => self.handle(done),
                () = self.shared.wake.notified() => {}
                close = self.inbox.recv(), if self.closing.is_none() => {
                    self.closing = Some(close.into_iter().collect());
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.inbox.close();
        self.shared.end();
        let unheard = self.shared.unheard();
        let mut waiting = self.closing.take().unwrap_or_default();
        while let Ok(close) = self.inbox.try_recv() {
            waiting.push(close);
        }
        for close in waiting {
            // Who does not wait any more need not know.
            let _ = close.send(unheard);
        }
    }

    /// Sends what is to be sent; answers when to come back.
    fn send(&mut self, now: LocalTime) -> LocalTime {
        self.send_global(now);
        if let Some(link) = self.shared.take_inherited().filter(|_| self.link.is_new()) {
            self.link = link;
        }
        self.shared.set_link(&self.link, now);
        let may_ask = self.link.may_ask(now);
        let room = MOST_MESSAGES.saturating_sub(self.messages.len());
        let flush_by = if self.closing.is_some() {
            // What is not due yet, too, but not what failed and waits for its turn.
            now.saturating_add(RETRY.saturating_sub(Duration::from_millis(1)))
        } else {
            now
        };
        let (mut reads, mut flushes) = (Vec::new(), Vec::new());
        let mut load = Load::new();
        let mut due = LocalTime::NEVER;
        let shared = Arc::clone(&self.shared);
        let shards = shared.shards.len();
        // Round and round, so that nobody who waits for a shard has to wait for all of it.
        let mut more = true;
        'rounds: while std::mem::take(&mut more) {
            for _ in 0..shards {
                if reads.len().max(flushes.len()) >= MOST_LINES * room {
                    break 'rounds;
                }
                let shard = &shared.shards[self.shard];
                self.shard = (self.shard + 1) % shards;
                if !shard.busy.load(Ordering::Acquire) {
                    continue;
                }
                let mut tiers = shard.lock();
                let progress = if may_ask {
                    tiers.poll_load(&mut load, flush_by)
                } else {
                    tiers.refuse_reads(now)
                };
                let next = tiers.poll_timeout();
                if next == LocalTime::NEVER {
                    shard.busy.store(false, Ordering::Release);
                }
                drop(tiers);
                if !may_ask {
                    shard.release();
                }
                reads.append(&mut load.reads);
                flushes.append(&mut load.flushes);
                match progress {
                    Progress::More => more = true,
                    Progress::Done => due = due.min(next),
                }
            }
        }
        if may_ask && !(reads.is_empty() && flushes.is_empty()) {
            self.link.asks(now, self.patience);
        }
        // In this order on one connection: what is read includes what was told before.
        for lines in flushes.chunks(MOST_LINES) {
            self.flush(lines.to_vec(), now);
        }
        for lines in reads.chunks(MOST_LINES) {
            self.read(lines.to_vec(), now);
        }
        if due < LocalTime::NEVER && !self.link.may_ask(now) {
            due = due.max(self.link.poll_timeout().unwrap_or(due));
        }
        if self.messages.len() >= MOST_MESSAGES {
            // The next answer makes room.
            due = LocalTime::NEVER;
        }
        match self.closing {
            Some(_) => due,
            None => due.min(self.global_at),
        }
    }

    fn read(&mut self, lines: Vec<ReadLine>, sent: LocalTime) {
        let (origin, patience) = (self.origin.clone(), self.patience);
        let spaces = Arc::clone(&self.shared.spaces);
        let counts = &self.shared.counts;
        counts
            .reads
            .fetch_add(lines.len() as u64, Ordering::Relaxed);
        self.messages.push(Box::pin(async move {
            let answers = within(patience, origin.read_cells(&spaces, &lines)).await;
            Done::Read(lines, sent, answers)
        }));
    }

    fn flush(&mut self, lines: Vec<FlushLine>, sent: LocalTime) {
        let (origin, patience) = (self.origin.clone(), self.patience);
        let spaces = Arc::clone(&self.shared.spaces);
        let counts = &self.shared.counts;
        counts
            .writes
            .fetch_add(lines.len() as u64, Ordering::Relaxed);
        self.messages.push(Box::pin(async move {
            let answers = within(patience, origin.flush_cells(&spaces, &lines)).await;
            Done::Flush(lines, sent, answers)
        }));
    }

    fn handle(&mut self, done: Done) {
        match done {
            Done::Read(lines, sent, Ok(answers)) => {
                self.answered(answers.time, sent);
                let now = self.shared.moment();
                for (line, totals) in lines.iter().zip(answers.lines) {
                    let shard = self.shared.shard(line.key);
                    let mut tiers = shard.lock();
                    let tier = tiers.of(line.policy);
                    match totals {
                        Some(totals) => tier.handle_read(line, totals, sent, &now),
                        None => tier.handle_read_failure(line, now.local),
                    }
                    self.shared.notice(shard, &tiers);
                }
                self.release(lines.iter().map(|line| line.key));
            }
            Done::Flush(lines, sent, Ok(answers)) => {
                self.answered(answers.time, sent);
                let now = self.shared.clock.now();
                for (line, total) in lines.iter().zip(answers.lines) {
                    let shard = self.shared.shard(line.key);
                    let mut tiers = shard.lock();
                    let tier = tiers.of(line.policy);
                    match total {
                        Some(total) => tier.handle_flush(line, total, sent),
                        None => tier.handle_flush_refusal(line, now),
                    }
                    self.shared.notice(shard, &tiers);
                }
                self.release(lines.iter().map(|line| line.key));
            }
            Done::Read(lines, sent, Err(error)) => {
                let now = self.failed(&error, sent);
                for line in &lines {
                    let mut tiers = self.shared.shard(line.key).lock();
                    tiers.of(line.policy).handle_read_failure(line, now);
                }
                self.release(lines.iter().map(|line| line.key));
            }
            Done::Flush(lines, sent, Err(error)) => {
                let now = self.failed(&error, sent);
                for line in &lines {
                    let shard = self.shared.shard(line.key);
                    let mut tiers = shard.lock();
                    tiers.of(line.policy).handle_flush_failure(line, now);
                    self.shared.notice(shard, &tiers);
                }
                self.release(lines.iter().map(|line| line.key));
            }
            Done::Pull(Ok(pulled)) => self.pulled(&pulled),
            Done::Publish(lines, heard) => self.published(&lines, heard),
            Done::Pull(Err(error)) => self.global_failed(&error),
        }
    }

    fn answered(&mut self, time: u64, sent: LocalTime) {
        let now = self.shared.clock.now();
        self.clock.handle_answer(time, sent, now);
        self.shared
            .offset
            .store(self.clock.offset(), Ordering::Relaxed);
        self.link.handle_answer(sent, now);
        self.shared.set_link(&self.link, now);
        if std::mem::take(&mut self.troubled) {
            crate::observe::store_recovered(&self.namespace);
        }
    }

    fn failed(&mut self, error: &StoreError, sent: LocalTime) -> LocalTime {
        let now = self.shared.clock.now();
        self.shared.counts.failures.fetch_add(1, Ordering::Relaxed);
        self.link.handle_failure(sent, now);
        self.shared.set_link(&self.link, now);
        if !std::mem::replace(&mut self.troubled, true) {
            crate::observe::store_trouble(&self.namespace, error);
        }
        now
    }

    /// Wakes who waits for an answer about one of these keys.
    fn release(&self, keys: impl Iterator<Item = Key>) {
        for key in keys {
            self.shared.shard(key).release();
        }
    }
}

/// Without its task a limiter goes on alone.
impl Drop for Task {
    fn drop(&mut self) {
        self.shared.end();
        self.shared.leave_alone();
    }
}

pub(super) async fn within<T>(
    patience: Duration,
    exchange: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(patience, exchange)
        .await
        .unwrap_or_else(|_| {
            let detail = format!("no answer within {patience:?}");
            Err(StoreError::new(StoreErrorKind::Timeout, detail))
        })
}
