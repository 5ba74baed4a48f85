//! Requests at an even pace over windows of the wall clock, and one exact counter of the same requests.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};
use tokio::task::JoinSet;

const TICK: Duration = Duration::from_millis(5);

/// Requests of one unit each on one key of a limit of `limit` units a `window`, each on a node that chance chooses.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The limit.
    pub limit: u32,
    /// Its window.
    pub window: Duration,
    /// Requests a window.
    pub requests: u32,
    /// For so many windows.
    pub windows: u32,
    /// Of which the first ones are not counted.
    pub skip: u32,
    /// So many nodes.
    pub nodes: usize,
}

/// What came of a [`Load`], but for the windows that were skipped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Offered {
    /// Requests.
    pub requests: u32,
    /// Those that were admitted.
    pub admitted: u32,
    /// What one exact counter of two cells would have admitted of them.
    pub exact: u32,
    /// By how much the latest of them was offered too late, for want of a processor.
    pub late: Duration,
}

impl Load {
    /// Offers everything, and waits for the answers of `ask`, which says whether a request on a node was admitted.
    ///
    /// What comes too late comes at once: counts are what they should be at any speed of the machine, and the pace is not.
    pub async fn offer<F>(&self, ask: impl Fn(usize) -> F) -> Offered
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let mut random = fastrand::Rng::with_seed(u64::from(self.limit));
        let (mut exact, mut seen) = (Exact::new(self), Offered::default());
        let mut answers = JoinSet::new();
        let ticks = (self.window.as_nanos() / TICK.as_nanos()) as u64;
        let mut offered = 0;
        let mut timer = tokio::time::interval(TICK);
        for tick in 1..=u64::from(self.windows) * ticks {
            let due_at = timer.tick().await;
            seen.late = seen.late.max(due_at.elapsed());
            let watched = tick > u64::from(self.skip) * ticks;
            let due = u64::from(self.requests) * tick / ticks;
            for _ in offered..due {
                let fits = exact.admits(since_1970());
                seen.requests += u32::from(watched);
                seen.exact += u32::from(fits && watched);
                let answer = ask(random.usize(..self.nodes));
                answers.spawn(async move { answer.await && watched });
            }
            offered = due;
            while let Some(answer) = answers.try_join_next() {
                seen.admitted += u32::from(answer.expect("no panic"));
            }
        }
        for admitted in answers.join_all().await {
            seen.admitted += u32::from(admitted);
        }
        seen
    }
}

/// One counter for all, of the cell of this window and of the one before.
struct Exact {
    limit: u64,
    window: u64,
    cells: HashMap<u64, u64>,
}

impl Exact {
    fn new(load: &Load) -> Self {
        Self {
            limit: load.limit.into(),
            window: load.window.as_micros() as u64,
            cells: HashMap::new(),
        }
    }

    fn admits(&mut self, now: Duration) -> bool {
        let now = now.as_micros() as u64;
        let (sequence, elapsed) = (now / self.window, now % self.window);
        let count = |at| self.cells.get(&at).copied().unwrap_or_default();
        let before = count(sequence - 1) * (self.window - elapsed) / self.window;
        let fits = count(sequence) + before < self.limit;
        if fits {
            *self.cells.entry(sequence).or_default() += 1;
        }
        fits
    }
}

/// The wall clock of this machine, which is that of the servers here too.
#[must_use]
pub fn since_1970() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_requests_are_offered_and_only_those_of_watched_windows_counted() {
        let load = Load {
            limit: 1_000_000,
            window: Duration::from_secs(1),
            requests: 333,
            windows: 3,
            skip: 1,
            nodes: 2,
        };
        let seen = load.offer(|node| async move { node == 0 }).await;
        assert_eq!((seen.requests, seen.exact), (666, 666));
        assert!((250..=416).contains(&seen.admitted), "{seen:?}");
    }

    #[test]
    fn the_exact_counter_adds_what_is_left_of_the_window_before() {
        let mut exact = Exact {
            limit: 10,
            window: 1_000_000,
            cells: HashMap::new(),
        };
        let mut admits = |millis, times: u32| {
            let admits = (0..times).filter(|_| exact.admits(Duration::from_millis(millis)));
            admits.count()
        };
        assert_eq!(admits(5_900, 20), 10);
        assert_eq!(admits(6_000, 20), 0);
        assert_eq!(admits(6_500, 20), 5);
        assert_eq!(admits(6_999, 20), 5);
        assert_eq!(admits(9_000, 20), 10);
    }
}
