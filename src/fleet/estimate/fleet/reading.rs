//! From reports to a reading: what the whole fleet measured since the last change of the limit.

use crate::fleet::estimate::fleet::baseline::{DRAINED, FEW};
use crate::fleet::estimate::fleet::memory::{Counters, Memory, NodeMemory};
use crate::fleet::message::{NodeView, Report};
use crate::time::StoreTime;
use std::collections::HashMap;
use std::time::Duration;

/// One window of the fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    /// Served with a latency.
    pub(super) samples: u64,
    pub(super) latency_us: u64,
    /// What a request that is in flight still takes, on average, in thousandths of the latency; 0 if unknown.
    pub(super) renewal_milli: u64,
    /// In flight on average, in thousandths.
    pub(super) milli: u64,
    /// How long a slot is kept, on average: longer than the latency where answers stream on after their heads.
    pub(super) hold_us: u64,
    /// Nodes that refused because their share was in use.
    pub(super) hungry: usize,
    /// All nodes, with work or without.
    pub(super) nodes: usize,
    /// What they refused.
    pub(super) sheds: u64,
    /// The backend said no, or timed out.
    pub(super) drops: u64,
    /// How long the window has been.
    pub(super) age: Duration,
}

/// Groups of nodes; the middle third of them makes the fleet's latency.
const GROUPS: usize = 16;
const HOUR_US: u64 = 3_600_000_000;
/// The one of two reports may have come so much sooner after it was sent than the other.
const LATE_US: u64 = 1_000_000;
/// Between two reports, roughly.
const REPORTS: Duration = Duration::from_millis(400);
/// Slots that are kept for so many times their samples are kept for something else.
const BEYOND: u64 = 2;
/// They are if nodes say so too: of slots that are kept beyond their samples, for this part of them or more.
const KEPT: u64 = 2;
/// A window is forgotten, where that is looked for, by an eighth in each one after it.
const FORGOTTEN: u64 = 8;
/// After so long without an answer that tells of the backend none is expected.
const WITHOUT_ANSWERS: Duration = Duration::from_secs(60);
/// A window waits for nodes that say nothing no longer than this.
const SILENCE: Duration = Duration::from_secs(2);

impl Counters {
    fn of(report: &Report) -> Self {
        Self {
            clock_us: report.clock_us,
            completions: report.completions,
            latency_us: report.latency_us,
            latency_us2: report.latency_us2,
            held_us: report.held_us,
            lingered_us: report.lingered_us,
            sheds: report.sheds,
            drops: report.drops,
        }
    }

    /// What came since `before`; `None` if a counter went back, which none does.
    fn since(&self, before: &Self) -> Option<Self> {
        Some(Self {
            clock_us: self.clock_us.checked_sub(before.clock_us)?,
            completions: self.completions.checked_sub(before.completions)?,
            latency_us: self.latency_us.checked_sub(before.latency_us)?,
            latency_us2: self.latency_us2.wrapping_sub(before.latency_us2),
            held_us: self.held_us.checked_sub(before.held_us)?,
            lingered_us: self.lingered_us.checked_sub(before.lingered_us)?,
            sheds: self.sheds.checked_sub(before.sheds)?,
            drops: self.drops.checked_sub(before.drops)?,
        })
    }

    /// Without what cannot be: more slot-time than the node may have `held` until now, an answer or more in each
    /// microsecond, answers that took hours. `None` after days of silence.
    fn sane(self, held: u64) -> Option<Self> {
        let completions = self.completions.min(self.clock_us);
        (self.clock_us < 24 * HOUR_US).then(|| Self {
            completions,
            latency_us: self.latency_us.min(completions.saturating_mul(HOUR_US)),
            held_us: self.held_us.min(held),
            lingered_us: self.lingered_us.min(held),
            sheds: self.sheds.min(self.clock_us),
            drops: self.drops.min(self.clock_us),
            ..self
        })
    }

    fn add(&mut self, other: &Self) {
        self.clock_us = self.clock_us.saturating_add(other.clock_us);
        self.completions = self.completions.saturating_add(other.completions);
        self.latency_us = self.latency_us.saturating_add(other.latency_us);
        self.latency_us2 = self.latency_us2.saturating_add(other.latency_us2);
        self.held_us = self.held_us.saturating_add(other.held_us);
        self.lingered_us = self.lingered_us.saturating_add(other.lingered_us);
        self.sheds = self.sheds.saturating_add(other.sheds);
        self.drops = self.drops.saturating_add(other.drops);
    }

    /// In flight on average, in thousandths.
    fn milli(&self) -> u64 {
        milli(self.held_us, self.clock_us)
    }
}

/// In flight on average, in thousandths: so much slot-time in so much time.
fn milli(slot_us: u64, clock_us: u64) -> u64 {
    let milli = u128::from(slot_us) * 1000 / u128::from(clock_us.max(1));
    u64::try_from(milli).unwrap_or(u64::MAX)
}

/// The mean of what lies between the first and the last third of the weight, of means in rising order. A median is
/// lower than the mean of what is skewed, and the more so the fewer samples there are; this is less, and one liar is
/// still outside.
fn middle_third(means: impl Iterator<Item = (i128, i128)> + Clone) -> i128 {
    let all: i128 = means.clone().map(|(_, weight)| weight).sum();
    // In thirds of a weight, so that the borders are whole.
    let (from, to) = (all, 2 * all);
    let (mut at, mut sum) = (0, 0);
    for (mean, weight) in means {
        let next = at + 3 * weight;
        let inside = next.min(to) - at.max(from);
        sum += mean * inside.max(0);
        at = next;
    }
    sum / (to - from).max(1)
}

impl Memory {
    /// Takes in the reports that are new; a record ends `lease` after its report. Nodes that have gone are forgotten.
    pub(super) fn take_in(&mut self, lease: Duration, open: &[&NodeView]) {
        let known: HashMap<u64, NodeMemory> = self
            .nodes
            .drain(..)
            .map(|node| (node.incarnation, node))
            .collect();
        let window = self.window;
        // A request's slot-time is told when its sample ends. Where that takes longer than there is between two reports most of
        // it is from before the last one; where they do not, it would be of a share that the node no longer has.
        let late = self.control.latencies(4).saturating_sub(REPORTS);
        let late_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let (answered, control) = (&mut self.answered, &mut self.control);
        self.nodes.extend(open.iter().map(|view| {
            let last = Counters::of(&view.report);
            let heard = view.deadline.saturating_sub(lease);
            let fresh = NodeMemory {
                incarnation: view.incarnation,
                heard,
                in_flight: view.in_flight,
                last,
                ..NodeMemory::default()
            };
            let Some(mut node) = known.get(&view.incarnation).copied() else {
                return fresh;
            };
            let most = u64::from(view.hold.max(view.share).max(node.share));
            // By the node's clock, as far as the store's bears it out: a report may have been under way for a while.
            let passed = u64::try_from(heard.since(node.heard).as_micros()).unwrap_or(u64::MAX);
            let at_most = passed.saturating_mul(2).saturating_add(LATE_US);
            let since = last.clock_us.saturating_sub(node.last.clock_us);
            let since = since.min(at_most).min(HOUR_US);
            let earned = most.saturating_mul(since);
            let unbooked = node.unbooked_us.saturating_add(earned);
            let Some(news) = last.since(&node.last).and_then(|news| news.sane(unbooked)) else {
                return fresh;
            };
            node.unbooked_us = (unbooked - news.held_us).min(most.saturating_mul(late_us));
            if news.clock_us == 0 {
                return node;
            }
            if news.completions > 0 || news.drops > 0 {
                *answered = heard.max(*answered);
            }
            control.lingered_us = control.lingered_us.saturating_add(news.lingered_us);
            control.sampled_us = control.sampled_us.saturating_add(news.latency_us);
            node.milli = news.milli();
            if node.heard >= window {
                node.window.add(&news);
                let seen = u64::from(node.in_flight) + u64::from(view.in_flight);
                let occupied = seen.min(2 * most).saturating_mul(since) / 2;
                node.occupied_us = node.occupied_us.saturating_add(occupied);
            }
            (node.last, node.heard, node.share) = (last, heard, view.share);
            node.in_flight = view.in_flight;
            node
        }));
    }

    /// What the window says, once it says enough: enough samples, from nearly all that have work.
    pub(super) fn reading(&self, now: StoreTime) -> Option<Reading> {
        let (mut samples, mut hungry, mut sheds, mut drops) = (0_u64, 0, 0_u64, 0_u64);
        let mut heard = 0_u64;
        for node in &self.nodes {
            samples = samples.saturating_add(node.window.completions);
            hungry += usize::from(node.window.sheds > 0);
            sheds = sheds.saturating_add(node.window.sheds);
            drops = drops.saturating_add(node.window.drops);
            if node.window.clock_us > 0 {
                heard = heard.saturating_add(node.milli);
            }
        }
        let milli = self.nodes.iter().map(|node| node.milli);
        let all = milli.fold(0, u64::saturating_add);
        let age = now.since(self.window);
        let enough = samples.saturating_add(drops) as f64 >= FEW;
        if !enough || heard.saturating_mul(10) < all.saturating_mul(9) && age < SILENCE {
            return None;
        }
        let latency_us = self.latency_us().unwrap_or(0);
        let (milli, hold_us) = self.occupied(samples, latency_us);
        Some(Reading {
            samples,
            latency_us,
            renewal_milli: self.renewal_milli().unwrap_or(0),
            milli,
            hold_us,
            hungry,
            nodes: self.nodes.len(),
            sheds,
            drops,
            age,
        })
    }

    /// Nothing was answered for long, and somebody was refused in the window; nor was there ever a sample: no answer here
    /// has one, as those that are event streams.
    pub(super) fn is_without_answers(&self, now: StoreTime) -> bool {
        self.control.baseline_us == 0
            && now.since(self.answered.max(self.window)) >= WITHOUT_ANSWERS
            && self.nodes.iter().any(|node| node.window.sheds > 0)
    }

    /// What was in flight on average, in thousandths, and how long a slot is kept.
    ///
    /// A node counts the slot-time of a request when its sample ends, which is exact where requests are short. Where slots
    /// are kept for long after their samples, by answers that stream, and a queue is a small part of that and many times
    /// a latency, what was seen in flight at each report is better. That they are kept is told by what comes after the
    /// samples: in a backend that stands still there are also more in flight than samples tell of.
    fn occupied(&self, samples: u64, latency_us: u64) -> (u64, u64) {
        let (mut counted, mut seen) = (0_u64, 0_u64);
        let (mut sampled_us, mut occupied_us) = (0_u64, 0_u64);
        for node in &self.nodes {
            if node.window.clock_us == 0 {
                counted = counted.saturating_add(node.milli);
                seen = seen.saturating_add(u64::from(node.in_flight) * 1000);
                continue;
            }
            counted = counted.saturating_add(node.window.milli());
            seen = seen.saturating_add(milli(node.occupied_us, node.window.clock_us));
            sampled_us = sampled_us.saturating_add(node.window.latency_us);
            occupied_us = occupied_us.saturating_add(node.occupied_us);
        }
        let control = &self.control;
        let are_kept = control.lingered_us > control.sampled_us / KEPT;
        if samples > 0 && are_kept && occupied_us / BEYOND > sampled_us {
            (seen, (occupied_us / samples).max(latency_us))
        } else {
            (counted, latency_us)
        }
    }

    /// The mean of the middle third of the groups' means, each node's usual offset taken off.
    fn latency_us(&self) -> Option<u64> {
        let own = |node: &NodeMemory| {
            i128::from(node.window.latency_us)
                - i128::from(node.offset_us) * i128::from(node.window.completions)
        };
        let weight = |node: &NodeMemory| i128::from(node.window.completions);
        let mean = self.agreed(own, weight)?;
        Some(u64::try_from(mean.max(1)).unwrap_or(u64::MAX))
    }

    /// The mean of what is left of those in flight, of which there are more the longer they take: half of the mean square
    /// over the square of the mean. `None` before three quarters of the nodes have reported: among the first few a liar
    /// is no exception.
    fn renewal_milli(&self) -> Option<u64> {
        let heard = self.nodes.iter().filter(|node| node.window.clock_us > 0);
        if heard.count() * 4 < self.nodes.len() * 3 {
            return None;
        }
        let window = |node: &NodeMemory| node.window;
        let left_us = self.agreed(
            |node| i128::from(window(node).latency_us2) / 2,
            |node| i128::from(window(node).latency_us),
        )?;
        let latency_us = self.agreed(
            |node| i128::from(window(node).latency_us),
            |node| i128::from(window(node).completions),
        )?;
        let milli = left_us.saturating_mul(1000) / latency_us.max(1);
        Some(u64::try_from(milli).unwrap_or(u64::MAX))
    }

    /// The mean of a quantity of which each node has a `sum` over a `weight`, without the third of the groups at either
    /// end.
    fn agreed(
        &self,
        sum: impl Fn(&NodeMemory) -> i128,
        weight: impl Fn(&NodeMemory) -> i128,
    ) -> Option<i128> {
        let mut groups = [(0_i128, 0_i128); GROUPS];
        let with_samples = self.nodes.iter().filter(|node| node.window.completions > 0);
        for (index, node) in with_samples.enumerate() {
            let group = &mut groups[index % GROUPS];
            *group = (group.0 + sum(node), group.1 + weight(node));
        }
        let parts = || groups.iter().filter(|(_, weight)| *weight > 0);
        let mut means: Vec<(i128, i128)> = parts()
            .map(|(sum, weight)| (sum / weight, *weight))
            .collect();
        match means.len() {
            0 => None,
            // No majority that could outvote a liar.
            1 | 2 => {
                let total: i128 = parts().map(|(sum, _)| sum).sum();
                let weights: i128 = parts().map(|(_, weight)| weight).sum();
                Some(total / weights)
            }
            _ => {
                means.sort_unstable();
                Some(outvoted(&means))
            }
        }
    }

    /// Moves each node's offset towards what it was in this window. The one in the middle is nought: else all of them
    /// and the fleet's latency could drift apart.
    pub(super) fn learn_offsets(&mut self, fleet_us: u64) {
        let fleet_us = i64::try_from(fleet_us).unwrap_or(i64::MAX);
        for node in &mut self.nodes {
            if let Some(own) = node.window.latency_us.checked_div(node.window.completions) {
                let own = i64::try_from(own).unwrap_or(i64::MAX);
                let off = own.saturating_sub(fleet_us).saturating_sub(node.offset_us);
                let weight = node.window.completions.min(100);
                let step = i128::from(off) * i128::from(weight) / 500;
                node.offset_us = node.offset_us.saturating_add(step as i64);
            }
        }
        let mut offsets: Vec<i64> = self.nodes.iter().map(|node| node.offset_us).collect();
        let Some(middle) = offsets.len().checked_sub(1).map(|last| last / 2) else {
            return;
        };
        let middle = *offsets.select_nth_unstable(middle).1;
        for node in &mut self.nodes {
            node.offset_us = node.offset_us.saturating_sub(middle);
        }
    }

    /// Begins anew. After a change it takes some latencies until what is served is what was let in since: at first
    /// the short ones are done, and the long ones of before; and where slots are kept beyond their samples, until some of
    /// them have been given back.
    pub(super) fn begin_window(&mut self, now: StoreTime, latencies: u32, reading: &Reading) {
        let longest = reading.latency_us.max(self.control.hold_us / DRAINED);
        let most = SILENCE.max(self.control.latencies(2));
        let latency = self.control.renewals(longest).min(most);
        let control = &mut self.control;
        control.lingered_us -= control.lingered_us / FORGOTTEN;
        control.sampled_us -= control.sampled_us / FORGOTTEN;
        self.begin_at(now.saturating_add(latencies * latency));
    }

    pub(super) fn begin_at(&mut self, time: StoreTime) {
        self.window = time;
        for node in &mut self.nodes {
            (node.window, node.occupied_us) = (Counters::default(), 0);
        }
    }
}

/// The mean of three `means` or more, each with its weight and in order, in which nobody outvotes the others: nobody
/// weighs more than twice what the one in the middle does, nor than a third of all others together, so that who is
/// outermost is left out whole.
fn outvoted(means: &[(i128, i128)]) -> i128 {
    let mut weights: Vec<i128> = means.iter().map(|(_, weight)| *weight).collect();
    weights.sort_unstable();
    let middle = weights[weights.len() / 2];
    let others: i128 = weights[..weights.len() - 1].iter().sum();
    let most = (2 * middle).min(others / 3).max(1);
    let capped = means
        .iter()
        .map(|(mean, weight)| (*mean, (*weight).min(most)));
    middle_third(capped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_third_leaves_out_a_third_on_each_side() {
        let equal = |means: &[i128]| middle_third(means.iter().map(|mean| (*mean, 10)));
        assert_eq!(equal(&[-1_000_000, 5, 1_000_000]), 5);
        assert_eq!(equal(&[1, 3, 5, 1_000_000]), 4);
        // Of 45 parts those from 15 to 30.
        let weighed = [(10, 20), (40, 10), (1_000, 15)];
        assert_eq!(middle_third(weighed.into_iter()), (10 * 5 + 40 * 10) / 15);
    }

    #[test]
    fn who_weighs_much_and_is_outermost_is_left_out_whole() {
        // Twice the weight of the others, which twice the middle one's would let through.
        assert_eq!(outvoted(&[(10, 30), (20, 30), (1_000, 60)]), 20);
        assert_eq!(outvoted(&[(-1_000, 60), (10, 30), (20, 30)]), 10);
        // Beyond a third of all others, though not twice the middle one.
        let four = [(10, 20), (20, 40), (30, 40), (1_000, 80)];
        assert!(outvoted(&four) <= 30, "{}", outvoted(&four));
    }
}
