//! I10: after how long what a node held that died may be another's.

use crate::engine::Nanos;
use crate::scenario::Scenario;
use std::collections::HashMap;
use tidegate::fleet::sim::Config;

/// What those who died hold, and for how long.
#[derive(Debug)]
pub(super) struct Reclaim {
    /// The longest that is promised, of time in which others beat.
    bound: Nanos,
    /// Whose beats are farther apart than this does not beat.
    pause: Nanos,
    /// When the store last heard of each incarnation.
    heard: HashMap<u64, Nanos>,
    /// Until when time was counted.
    counted: Nanos,
    dead: Vec<Dead>,
    longest: Option<Nanos>,
}

#[derive(Debug)]
struct Dead {
    incarnation: u64,
    since: Nanos,
    /// The part of it in which others beat: only then does store time pass.
    waited: Nanos,
    is_late: bool,
}

impl Reclaim {
    /// `slowest` is the part by which the slowest clock runs too slow.
    pub(super) fn new(scenario: &Scenario, config: &Config, slowest: f64) -> Self {
        // A beat may move store time by two heartbeats.
        let heartbeat = config.slack_us() as f64 * 1000.0 / 2.0;
        // While an answer and the next beat are on their way no node counts.
        let counts = 1.0 - scenario.network.store.greatest() / heartbeat;
        let lease = config.lease_us() as f64 * 1000.0 / counts.max(0.0) / (1.0 - slowest);
        Self {
            // The third heartbeat is that of who finds out, which may come a tenth later.
            bound: (lease + 1.1 * heartbeat) as Nanos,
            pause: (2.0 * heartbeat) as Nanos,
            heard: HashMap::new(),
            counted: 0,
            dead: Vec::new(),
            longest: None,
        }
    }

    /// The longest that a dead node's slots were nobody's.
    pub(super) const fn longest(&self) -> Option<Nanos> {
        self.longest
    }

    pub(super) fn died(&mut self, incarnation: u64, now: Nanos) {
        self.dead.push(Dead {
            incarnation,
            since: now,
            waited: 0,
            is_late: false,
        });
    }

    /// The store lost something, or is another: whoever is in waits for a lease from now on (I9).
    pub(super) fn disturbed(&mut self) {
        self.dead.iter_mut().for_each(|dead| dead.waited = 0);
    }

    /// The store has heard of `from`, and of those who died `is_held` says whether something is kept for them. Answers who
    /// is late with this step: how long it waited, and what is promised.
    pub(super) fn heard(
        &mut self,
        now: Nanos,
        from: u64,
        is_held: impl Fn(u64) -> bool,
    ) -> Vec<(Nanos, Nanos)> {
        let last = self.heard.insert(from, now);
        let beat = last.filter(|last| now - last <= self.pause);
        let (mut late, counted) = (Vec::new(), self.counted);
        let (bound, longest) = (self.bound, &mut self.longest);
        self.dead.retain_mut(|dead| {
            if dead.incarnation == from {
                // What it sent before it died renews what it holds.
                dead.waited = 0;
            } else if let Some(last) = beat {
                dead.waited += now - last.max(counted).max(dead.since);
            }
            let is_held = is_held(dead.incarnation);
            if !is_held {
                *longest = (*longest).max(Some(now - dead.since));
            }
            if dead.waited > bound && !dead.is_late {
                dead.is_late = true;
                late.push((dead.waited, bound));
            }
            is_held
        });
        if beat.is_some() {
            self.counted = now;
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{MS, SECOND};

    const DEAD: u64 = 1;
    const OTHER: u64 = 2;

    fn reclaim(settings: &str, network: &str) -> Reclaim {
        let text = format!(
            "duration = 9\n[backend]\ncapacity = 5\nlatency_ms = 1\n[load]\nlevel = 1\n[network]\n{network}\n"
        );
        let scenario = Scenario::parse("test", &text).unwrap();
        Reclaim::new(&scenario, &Config::parse(settings).unwrap(), 0.0)
    }

    /// Beats of `from` twice a second, until `until`; how many were late.
    fn beats(reclaim: &mut Reclaim, from: u64, between: (Nanos, Nanos)) -> usize {
        let beats = (between.0..=between.1).step_by((SECOND / 2) as usize);
        beats
            .map(|at| reclaim.heard(at, from, |_| true).len())
            .sum()
    }

    #[test]
    fn the_bound_is_a_lease_and_a_heartbeat_by_default_four_and_a_half_seconds() {
        let bound = |settings, network| reclaim(settings, network).bound / MS;
        assert_eq!(bound("", "store_ms = 0"), 4550);
        let frozen = "outage=frozen:3000000us";
        assert_eq!(bound(frozen, "store_ms = 0"), 7550);
        // Half of the time a beat or its answer is on its way.
        assert_eq!(bound("", "store_ms = 250"), 8550);
    }

    #[test]
    fn who_is_held_for_longer_than_is_promised_is_late_once() {
        let mut reclaim = reclaim("", "store_ms = 0");
        beats(&mut reclaim, OTHER, (0, 10 * SECOND));
        reclaim.died(DEAD, 10 * SECOND);
        let half = SECOND / 2;
        assert_eq!(
            beats(
                &mut reclaim,
                OTHER,
                (10 * SECOND + half, 14 * SECOND + half)
            ),
            0
        );
        assert_eq!(beats(&mut reclaim, OTHER, (15 * SECOND, 15 * SECOND)), 1);
        assert_eq!(
            beats(&mut reclaim, OTHER, (15 * SECOND + half, 20 * SECOND)),
            0
        );
        assert_eq!(reclaim.longest(), None);
        assert!(reclaim.heard(21 * SECOND, OTHER, |_| false).is_empty());
        assert_eq!(reclaim.longest(), Some(11 * SECOND));
    }

    #[test]
    fn time_counts_while_others_beat_and_from_the_last_word_of_the_dead() {
        let mut reclaim = reclaim("", "store_ms = 0");
        beats(&mut reclaim, DEAD, (0, 10 * SECOND));
        reclaim.died(DEAD, 10 * SECOND);
        // Nobody is there for ten seconds; who comes then has nothing to tell at first.
        assert_eq!(beats(&mut reclaim, OTHER, (20 * SECOND, 24 * SECOND)), 0);
        // A beat that was on its way all the time.
        assert!(reclaim.heard(24 * SECOND, DEAD, |_| true).is_empty());
        assert_eq!(beats(&mut reclaim, OTHER, (24 * SECOND, 28 * SECOND)), 0);
        reclaim.disturbed();
        assert_eq!(beats(&mut reclaim, OTHER, (28 * SECOND, 32 * SECOND)), 0);
        assert_eq!(beats(&mut reclaim, OTHER, (32 * SECOND, 34 * SECOND)), 1);
    }

    #[test]
    fn time_in_which_several_beat_counts_once() {
        let mut reclaim = reclaim("", "store_ms = 0");
        for node in 2..9 {
            beats(&mut reclaim, node, (0, 0));
        }
        reclaim.died(DEAD, 0);
        let mut late = 0;
        for tick in 1..=90 {
            let at = tick * 50 * MS;
            late += reclaim.heard(at, 2 + tick % 7, |_| true).len();
        }
        assert_eq!(late, 0);
        assert_eq!(reclaim.heard(4600 * MS, 2, |_| true).len(), 1);
    }
}
