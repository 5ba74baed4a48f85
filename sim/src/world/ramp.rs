//! How soon a node that comes later has its share.
//!
//! It is known to the millisecond, but looked for only after something has happened that may have moved a share: a look
//! costs as much as there are nodes, and under some loads nobody ever has an equal share.

use super::{Event, World};
use crate::engine::{MS, Nanos};
use crate::load::Spread;

/// Nodes that came at one time and do not have their shares yet.
#[derive(Debug)]
pub(super) struct Joined {
    since: Nanos,
    nodes: Vec<usize>,
    /// When they are looked at next, if that is written down.
    next: Option<Nanos>,
}

impl World<'_> {
    /// A node has come.
    pub(super) fn wait_for_share(&mut self, node: usize) {
        // Elsewhere an equal share is not what a node is to have.
        if self.scenario.load.spread != Spread::Equal {
            return;
        }
        let now = self.agenda.now();
        if let Some(joined) = self.joined.iter_mut().find(|joined| joined.since == now) {
            joined.nodes.push(node);
            return;
        }
        self.joined.push(Joined {
            since: now,
            nodes: vec![node],
            next: None,
        });
        let last = now + (self.scenario.duration - now) / MS * MS;
        self.agenda.at(last, Event::Ramp(now));
    }

    /// Shares may have moved: whoever waits is looked at in the next whole millisecond since it came.
    pub(super) fn plan_looks(&mut self) {
        let now = self.agenda.now();
        for joined in &mut self.joined {
            if joined.next.is_none() {
                let at = look_at(joined.since, now);
                joined.next = Some(at);
                self.agenda.at(at, Event::Ramp(joined.since));
            }
        }
    }

    /// Those who came at `since` wait until they have 90 % of an equal share, or are gone.
    pub(super) fn look_at_joined(&mut self, since: Nanos) {
        let now = self.agenda.now();
        let Some(place) = self.joined.iter().position(|joined| joined.since == since) else {
            return;
        };
        let mut joined = self.joined.swap_remove(place);
        // Not of what is dealt at this moment, which is less while slots go from hand to hand.
        let equal = self.limiter.limit(self.truth()) / self.up.len() as f64;
        let is_last = now + MS > self.scenario.duration;
        joined.nodes.retain(|node| {
            if !self.is_up[*node] {
                return false;
            }
            let Some(share) = self.limiter.share(*node) else {
                return false;
            };
            let has_it = share >= nearly_all(equal) || is_last;
            if has_it {
                self.meter.ramped(now - since);
            }
            !has_it
        });
        joined.next = joined.next.filter(|next| *next > now);
        if !joined.nodes.is_empty() {
            self.joined.push(joined);
        }
    }
}

/// The next whole millisecond after `since` that is not before `now`.
fn look_at(since: Nanos, now: Nanos) -> Nanos {
    since + (now - since).div_ceil(MS).max(1) * MS
}

/// 90 % of a share in whole slots, of which nobody can hold more than there are in the share; one at least.
fn nearly_all(share: f64) -> f64 {
    // What is a whole number but for its last digits is taken for it.
    (0.9 * share - 1e-9).ceil().min(share.floor()).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter;
    use crate::metrics::{Metric, Run};
    use crate::scenario::Scenario;

    #[test]
    fn nearly_all_of_a_share_is_nine_tenths_rounded_up_where_slots_allow() {
        for (share, slots) in [
            (50.0, 45.0),
            (12.5, 12.0),
            (12.0, 11.0),
            (110.0, 99.0),
            // Of three slots and a part, nobody can hold the part.
            (3.88, 3.0),
            (1.0, 1.0),
            (0.3, 1.0),
        ] {
            assert_eq!(nearly_all(share), slots, "of {share}");
        }
    }

    #[test]
    fn a_look_is_in_a_whole_millisecond_after_the_node_came() {
        for (now, at) in [(5, 5 + MS), (5 + MS, 5 + MS), (6 + MS, 5 + 2 * MS)] {
            assert_eq!(look_at(5, now), at);
        }
    }

    /// A node comes and does not reach the store.
    fn joins(spread: &str) -> Run {
        let text = format!(
            "duration = 61\nwarmup = 0\n[backend]\ncapacity = 40\nlatency_ms = 10\n[nodes]\ncount = 3\n\
             events = [{{ at = 1.1, join = 1 }}]\n[load]\nlevel = 0\nspread = {spread}\n\
             [network]\npartitions = [{{ at = 1, length = 60, nodes = [3] }}]\n"
        );
        let scenario = Scenario::parse("test", &text).unwrap();
        crate::world::run(&scenario, limiter::build(&scenario, 1), 1)
    }

    /// Of bins and of nodes that beat there are some 50 events a second.
    #[test]
    fn who_waits_for_its_share_is_not_looked_at_while_nothing_happens() {
        let equal = joins("\"equal\"");
        assert_eq!(equal.values.get(Metric::Ramp), 59_900.0, "to the end");
        assert!(equal.events < 6000, "{} events", equal.events);
    }

    /// There it would be waited for to the end.
    #[test]
    fn nobody_waits_for_an_equal_share_where_the_load_is_not() {
        for spread in [
            "{ skew = { part = 0.9, of = 0.25 } }",
            "{ zipf = 1 }",
            "{ hot = { part = 0.9, every = 5 } }",
        ] {
            let run = joins(spread);
            assert!(run.values.get(Metric::Ramp).is_nan(), "{spread}");
            assert!(run.events < 6000, "{} events", run.events);
        }
    }
}
