//! The limit that each store has committed, at every moment: what is in flight is held against it.

use crate::clock::now;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidegate_test_support::Monitor;

/// Follows the limits of stores, from before the first is committed.
#[derive(Debug)]
pub(crate) struct Committed {
    /// For so long after a limit was lowered something may be in flight under the higher one.
    memory: Duration,
    history: Arc<Mutex<History>>,
    stores: Vec<Monitor>,
}

/// The backend's peaks are those of tenths of a second.
const TENTH: Duration = Duration::from_millis(100);
/// By so much later than in the store a limit may be heard of here, on a machine that does other things too.
pub(crate) const HEARD: Duration = Duration::from_millis(250);

/// When which limit began to hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct History {
    limits: Vec<Held>,
    /// Of each store, the life of its state in which it wrote last.
    epochs: Vec<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Held {
    since: Instant,
    store: usize,
    limit: usize,
}

impl Committed {
    pub(crate) fn new(memory: Duration) -> Self {
        Self {
            memory,
            history: Arc::default(),
            stores: Vec::new(),
        }
    }

    /// Follows the store at `address`, too. What it commits from now on is the fleet's limit.
    pub(crate) fn follow(&mut self, address: SocketAddr) {
        let store = self.stores.len();
        lock(&self.history).epochs.push(String::new());
        let (history, memory) = (Arc::clone(&self.history), self.memory);
        let monitor = Monitor::start(address, move |line| {
            if let Some(state) = State::read(line) {
                lock(&history).note(now(), store, &state, memory);
            }
        });
        self.stores.push(monitor);
    }

    /// The largest limit that held at a moment between two.
    fn largest(&self, from: Instant, to: Instant) -> usize {
        lock(&self.history).largest(from, to, |_| true)
    }

    /// The same of each store, added up.
    fn largest_of_all(&self, from: Instant, to: Instant) -> usize {
        let history = lock(&self.history);
        (0..self.stores.len())
            .map(|store| history.largest(from, to, |held| held.store == store))
            .sum()
    }

    /// The most that may be in flight in a tenth of a second that begins at `since`, where everybody has learnt within
    /// `memory` of a limit, and ended what ran under the one before.
    pub(crate) fn bound(&self, since: Instant, memory: Duration) -> usize {
        let from = since.checked_sub(memory).unwrap_or(since);
        self.largest(from, since + TENTH + HEARD)
    }

    /// The same, of stores that each deal slots by their own limit: theirs together.
    pub(crate) fn bound_of_all(&self, since: Instant, memory: Duration) -> usize {
        let from = since.checked_sub(memory).unwrap_or(since);
        self.largest_of_all(from, since + TENTH + HEARD)
    }

    /// The lowest and the highest limit since `from`.
    pub(crate) fn range(&self, from: Instant) -> (usize, usize) {
        let history = lock(&self.history);
        let limits = || history.between(from, now(), |_| true);
        (limits().min().unwrap_or(0), limits().max().unwrap_or(0))
    }
}

/// What a store writes of a key with every beat and commit.
struct State<'a> {
    epoch: &'a str,
    limit: usize,
    /// Whether a plan was committed in this epoch. Before that the limit is one that nodes have brought along.
    planned: bool,
}

impl<'a> State<'a> {
    /// Reads a line of `MONITOR`. The words are those of `state.lua`.
    fn read(line: &'a str) -> Option<Self> {
        const LIMIT: usize = 9;
        const COMMITTED: usize = 15;
        let (_, write) = line.split_once(r#""HSET" "tidegate:1:{"#)?;
        let (_, state) = write.split_once(r#"}" "@" ""#)?;
        let words: Vec<&str> = state.trim_end_matches('"').split(' ').collect();
        Some(Self {
            epoch: words.first()?,
            limit: words.get(LIMIT)?.parse().ok()?,
            planned: *words.get(COMMITTED)? != "0",
        })
    }
}

impl History {
    fn note(&mut self, since: Instant, store: usize, state: &State<'_>, memory: Duration) {
        let limit = if state.planned {
            state.limit
        } else if state.epoch == self.epochs[store] {
            return;
        } else {
            // Until its first plan a new epoch takes no share from anybody, so what held by its beginning holds on.
            let from = since.checked_sub(memory).unwrap_or(since);
            self.largest(from, since, |_| true)
        };
        state.epoch.clone_into(&mut self.epochs[store]);
        let held = Held {
            since,
            store,
            limit,
        };
        let same = |last: &Held| (last.store, last.limit) == (store, limit);
        if !self.limits.last().is_some_and(same) {
            self.limits.push(held);
        }
    }

    fn largest(&self, from: Instant, to: Instant, which: impl Fn(&Held) -> bool) -> usize {
        self.between(from, to, which).max().unwrap_or(0)
    }

    /// What held at `from`, and whatever came since, until `to`.
    fn between(
        &self,
        from: Instant,
        to: Instant,
        which: impl Fn(&Held) -> bool,
    ) -> impl Iterator<Item = usize> {
        let until = self.limits.iter().filter(move |held| which(held));
        let until: Vec<Held> = until.filter(|held| held.since <= to).copied().collect();
        let after = until.partition_point(|held| held.since <= from);
        let limits = until.into_iter().skip(after.saturating_sub(1));
        limits.map(|held| held.limit)
    }
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Duration = Duration::from_secs(3);

    fn state(epoch: &str, limit: usize, planned: bool) -> State<'_> {
        State {
            epoch,
            limit,
            planned,
        }
    }

    #[test]
    fn a_line_of_the_monitor_is_read() {
        let numbers = (3..).map(|number| number.to_string());
        let numbers: Vec<String> = numbers.take(24).collect();
        let line = format!(
            r#"+1.2 [0 lua] "HSET" "tidegate:1:{{gateway}}" "@" "77 run {}""#,
            numbers.join(" ")
        );
        let read = State::read(&line).expect("the state of a key");
        assert_eq!((read.epoch, read.limit, read.planned), ("77", 10, true));
        for other in [
            r#"+1.2 [0 lua] "HSET" "tidegate:1:{gateway}" "$" "protocol=1""#,
            r#"+1.2 [0 127.0.0.1:1] "PING""#,
            "",
        ] {
            assert!(State::read(other).is_none(), "{other}");
        }
    }

    fn history(stores: usize) -> History {
        History {
            epochs: vec![String::new(); stores],
            ..History::default()
        }
    }

    #[test]
    fn the_largest_limit_is_of_what_held_at_the_beginning_and_of_all_since() {
        let begin = now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut history = history(1);
        assert_eq!(history.largest(at(0), at(9), |_| true), 0);
        for (seconds, limit) in [(1, 20), (5, 30), (6, 24), (7, 24), (20, 25)] {
            history.note(at(seconds), 0, &state("a", limit, true), MEMORY);
        }
        for (from, to, largest) in [
            (0, 0, 0),
            (0, 1, 20),
            (2, 4, 20),
            (2, 5, 30),
            (5, 9, 30),
            (6, 19, 24),
            (19, 21, 25),
            (30, 31, 25),
        ] {
            let held = history.largest(at(from), at(to), |_| true);
            assert_eq!(held, largest, "{from} to {to}");
        }
    }

    #[test]
    fn a_new_epoch_goes_on_with_what_may_be_in_flight_until_its_first_plan() {
        let begin = now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut history = history(1);
        for (seconds, state) in [
            (0, state("a", 0, false)),
            (1, state("a", 30, true)),
            (9, state("a", 24, true)),
            (10, state("b", 0, false)),
            (11, state("b", 24, false)),
            (22, state("b", 25, true)),
        ] {
            history.note(at(seconds), 0, &state, MEMORY);
        }
        assert_eq!(history.largest(at(20), at(21), |_| true), 30);
        assert_eq!(history.largest(at(22), at(23), |_| true), 25);
    }

    #[test]
    fn the_store_that_has_committed_last_is_the_fleets_and_each_its_own() {
        let begin = now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut history = history(2);
        history.note(at(1), 0, &state("a", 30, true), MEMORY);
        history.note(at(5), 1, &state("b", 0, false), MEMORY);
        history.note(at(9), 1, &state("b", 24, true), MEMORY);
        assert_eq!(history.largest(at(6), at(8), |_| true), 30);
        assert_eq!(history.largest(at(9), at(10), |_| true), 24);
        assert_eq!(history.largest(at(9), at(10), |held| held.store == 0), 30);
    }
}
