//! The exchange with the other regions: what the global store has that is new, then what it does not know.

use crate::layered::cursor::Pulled;
use crate::layered::driver::{Done, MOST_LINES, Task, within};
use crate::layered::exchange::PublishLine;
use crate::layered::load::Progress;
use crate::store::{RedisStore, StoreError};
use crate::time::LocalTime;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The other regions.
#[derive(Debug)]
pub(super) struct GlobalSetup {
    pub(super) store: RedisStore,
    pub(super) region: Arc<str>,
    pub(super) every: Duration,
}

impl Task {
    /// Asks the global store what is new.
    pub(super) fn send_global(&mut self, now: LocalTime) {
        let Some(global) = &self.global else {
            return;
        };
        if now < self.global_at || self.closing.is_some() {
            return;
        }
        self.global_at = LocalTime::NEVER;
        let (store, region) = (global.store.clone(), Arc::clone(&global.region));
        let (spaces, patience) = (Arc::clone(&self.shared.spaces), self.patience);
        let cursors = self.cursors.clone();
        self.messages.push(Box::pin(async move {
            let pull = store.pull_cells(&spaces, &region, &cursors);
            Done::Pull(within(patience, pull).await)
        }));
    }

    /// Tells the global store what it does not know yet, in order of the keys.
    fn publish(&mut self) -> bool {
        let Some(global) = &self.global else {
            return false;
        };
        let mut lines = Vec::with_capacity(MOST_LINES + 1);
        let mut more = true;
        while std::mem::take(&mut more) {
            for shard in &self.shared.shards {
                let progress = shard.lock().poll_publications(&mut lines, MOST_LINES);
                more |= progress == Progress::More;
            }
        }
        if lines.is_empty() {
            return false;
        }
        lines.sort_unstable_by_key(|line| (line.policy, line.key, line.sequence));
        let (store, region) = (global.store.clone(), Arc::clone(&global.region));
        let (spaces, patience) = (Arc::clone(&self.shared.spaces), self.patience);
        // Numbers that scripts can count with.
        let epoch = self.random.u64(1..1 << 52);
        self.messages.push(Box::pin(async move {
            let publication = store.publish_cells(&spaces, &region, &lines, epoch);
            let heard = within(patience, publication).await;
            Done::Publish(lines, heard)
        }));
        true
    }

    /// Once, when origin has heard of everything: tells the other regions what they do not know.
    pub(super) fn publishes_last(&mut self) -> bool {
        !std::mem::replace(&mut self.published_last, true) && self.publish()
    }

    /// What the global store has answered, for each policy. What it refuses of one keeps none of the others.
    pub(super) fn pulled(&mut self, pulled: &[Result<Pulled, StoreError>]) {
        for (policy, pulled) in (0..).zip(pulled) {
            match pulled {
                Ok(pulled) => self.import(policy, pulled),
                Err(error) => self.global_trouble(error),
            }
        }
        if pulled.iter().all(Result::is_ok) && std::mem::take(&mut self.global_troubled) {
            crate::observe::store_recovered(&format!("{} (global)", self.namespace));
        }
        if pulled.iter().flatten().any(|pulled| pulled.more) {
            self.global_at = self.shared.clock.now();
        } else if !self.publish() {
            self.rest();
        }
    }

    fn import(&mut self, policy: u8, pulled: &Pulled) {
        let now = self.shared.moment();
        let cursor = &mut self.cursors[usize::from(policy)];
        if !pulled.cursor.goes_on_from(*cursor) {
            for shard in &self.shared.shards {
                let mut from = Some(0);
                while let Some(number) = from {
                    from = shard.lock().of(policy).handle_unpublished(number);
                }
            }
        }
        *cursor = pulled.cursor;
        for line in &pulled.lines {
            let mut tiers = self.shared.shard(line.key).lock();
            tiers.of(policy).handle_import(line, &now);
        }
    }

    pub(super) fn published(
        &mut self,
        lines: &[PublishLine],
        heard: Result<Vec<bool>, StoreError>,
    ) {
        let heard = heard.unwrap_or_else(|error| {
            self.global_failed(&error);
            Vec::new()
        });
        for (at, line) in lines.iter().enumerate() {
            let mut tiers = self.shared.shard(line.key).lock();
            let tier = tiers.of(line.policy);
            if heard.get(at).copied().unwrap_or_default() {
                tier.handle_publish(line);
            } else {
                tier.handle_publish_failure(line);
            }
        }
        // As many as fit one message: there may be more.
        let more = lines.len() >= MOST_LINES && heard.contains(&true);
        if !more || !self.publish() {
            self.rest();
        }
    }

    pub(super) fn global_failed(&mut self, error: &StoreError) {
        self.global_trouble(error);
        self.rest();
    }

    fn global_trouble(&mut self, error: &StoreError) {
        self.shared
            .counts
            .global_failures
            .fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.global_troubled, true) {
            crate::observe::store_trouble(&format!("{} (global)", self.namespace), error);
        }
    }

    /// Until the global store is asked again.
    fn rest(&mut self) {
        if let Some(global) = &self.global {
            let every = global.every * 7 / 8;
            let jitter = self.random.u64(..=every.as_nanos() as u64 / 4);
            let pause = every + Duration::from_nanos(jitter);
            self.global_at = self.shared.clock.now().saturating_add(pause);
        }
    }
}
