//! What happened to the slots, counted on stripes so that threads do not share a cache line.
//!
//! A successful release costs one relaxed addition: count and latency travel in one `u64`. Stripes are emptied by
//! whoever closes a window or composes a report, so they hold at most one such period.

use crate::criticality::Criticality;
use crate::observe;
use crate::permit::{Outcome, Shed, stripe};
use crate::sync::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;

const CLASSES: usize = Criticality::ALL.len();
const SUM_BITS: u32 = 40;
const SUM_MASK: u64 = (1 << SUM_BITS) - 1;
/// A latency below this (17 s) goes into the common word: 65 536 of them fit its sum between two readings, which
/// are a fraction of a second apart. A longer one is counted there and summed apart.
const LONG_US: u64 = 1 << 24;
/// Latencies are counted in groups of which each reaches from one to the eightfold, the last to the longest.
const GROUPS: usize = 8;
/// One latency, at most 12 days, so that no sum overflows.
const MAX_SAMPLE_US: u64 = 1 << 40;

/// What was counted over some time. All counts only ever rise.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Totals {
    /// Successes, each with a latency.
    pub(crate) successes: u64,
    /// Sum of the latencies of the successes, in microseconds.
    pub(crate) success_us: u64,
    /// Sum of their squares, in square microseconds, as if each were the mean of its group of latencies; of a number
    /// that grows for ever the last 64 bits.
    pub(crate) success_us2: u64,
    /// Overloads: the backend said no, or timed out.
    pub(crate) overloads: u64,
    /// Sum of the latencies of the overloads, in microseconds: lower bounds, the work may go on.
    pub(crate) overload_us: u64,
    /// Application errors.
    pub(crate) failures: u64,
    /// Slots given back without an outcome.
    pub(crate) ignored: u64,
    /// Time that slots were held without a latency sample, in microseconds.
    pub(crate) other_us: u64,
    /// Time that slots were held after their samples, in microseconds: by bodies that stream on.
    pub(crate) lingered_us: u64,
    /// Time after which a slot that was taken for such a one had a sample after all, in microseconds.
    pub(crate) retold_us: u64,
    /// Refusals by reason, in the order of [`Shed::ALL`].
    pub(crate) sheds: [u64; Shed::ALL.len()],
    /// Slots handed to those who had found none and waited.
    pub(crate) waits: u64,
    /// The same by class, as far as it says what each class would use.
    pub(crate) classes: [ClassTotals; Criticality::ALL.len()],
}

/// What was counted of one class.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ClassTotals {
    pub(crate) successes: u64,
    pub(crate) success_us: u64,
    /// Refusals, for whatever reason.
    pub(crate) sheds: u64,
}

impl ClassTotals {
    pub(crate) const fn since(&self, earlier: &Self) -> Self {
        Self {
            successes: self.successes - earlier.successes,
            success_us: self.success_us - earlier.success_us,
            sheds: self.sheds - earlier.sheds,
        }
    }
}

impl Totals {
    pub(crate) const fn completions(&self) -> u64 {
        self.successes + self.overloads + self.failures + self.ignored
    }

    pub(crate) fn shed_total(&self) -> u64 {
        self.sheds.iter().sum()
    }

    /// Slot-time used, in microseconds: the integral of in-flight over time, booked when slots come back.
    pub(crate) const fn held_us(&self) -> u64 {
        self.success_us + self.overload_us + self.other_us + self.lingered_us
    }

    /// What was counted since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            successes: self.successes - earlier.successes,
            success_us: self.success_us - earlier.success_us,
            success_us2: self.success_us2.wrapping_sub(earlier.success_us2),
            overloads: self.overloads - earlier.overloads,
            overload_us: self.overload_us - earlier.overload_us,
            failures: self.failures - earlier.failures,
            ignored: self.ignored - earlier.ignored,
            other_us: self.other_us - earlier.other_us,
            lingered_us: self.lingered_us - earlier.lingered_us,
            retold_us: self.retold_us - earlier.retold_us,
            sheds: std::array::from_fn(|reason| self.sheds[reason] - earlier.sheds[reason]),
            waits: self.waits - earlier.waits,
            classes: std::array::from_fn(|class| {
                self.classes[class].since(&earlier.classes[class])
            }),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.successes += other.successes;
        self.success_us += other.success_us;
        self.success_us2 = self.success_us2.wrapping_add(other.success_us2);
        self.overloads += other.overloads;
        self.overload_us += other.overload_us;
        self.failures += other.failures;
        self.ignored += other.ignored;
        self.other_us += other.other_us;
        self.lingered_us += other.lingered_us;
        self.retold_us += other.retold_us;
        for (sum, more) in self.sheds.iter_mut().zip(other.sheds) {
            *sum += more;
        }
        self.waits += other.waits;
        for (sum, more) in self.classes.iter_mut().zip(other.classes) {
            sum.successes += more.successes;
            sum.success_us += more.success_us;
            sum.sheds += more.sheds;
        }
    }
}

#[derive(Debug, Default)]
struct Stripe {
    /// Count in the upper 24 bits, microseconds in the lower 40. By class, like the two others: as many additions, to
    /// more words; and by group of latencies.
    success: [[AtomicU64; GROUPS]; CLASSES],
    overload: AtomicU64,
    long_success_us: [AtomicU64; CLASSES],
    long_overload_us: AtomicU64,
    failures: AtomicU64,
    ignored: AtomicU64,
    other_us: AtomicU64,
    lingered_us: AtomicU64,
    retold_us: AtomicU64,
    /// Slots that stay in use now; begun here less ended here, modulo 2^64. Never emptied.
    lingering: AtomicU64,
    sheds: [[AtomicU64; Shed::ALL.len()]; CLASSES],
    waits: AtomicU64,
    /// All refusals so far; never emptied.
    refusals: AtomicU64,
}

impl Stripe {
    /// Everything but the frequent case.
    #[cold]
    #[inline(never)]
    fn settle(&self, class: Criticality, outcome: Outcome, us: u64) {
        let us = us.min(MAX_SAMPLE_US);
        let (short, long) = if us < LONG_US { (us, 0) } else { (0, us) };
        let add = |cell: &AtomicU64, more| {
            if more > 0 {
                cell.fetch_add(more, Ordering::Relaxed);
            }
        };
        match outcome {
            Outcome::Success => {
                add(
                    &self.success[class.index()][group(us)],
                    1 << SUM_BITS | short,
                );
                add(&self.long_success_us[class.index()], long);
            }
            Outcome::Overload => {
                add(&self.overload, 1 << SUM_BITS | short);
                add(&self.long_overload_us, long);
            }
            Outcome::Failure => {
                add(&self.failures, 1);
                add(&self.other_us, us);
            }
            Outcome::Ignore => {
                add(&self.ignored, 1);
                add(&self.other_us, us);
            }
        }
    }
}

#[cfg(feature = "fleet")]
impl Stripe {
    fn end_lingering(&self, told: impl Fn(&Self) -> &AtomicU64, us: u64) {
        told(self).fetch_add(us.min(MAX_SAMPLE_US), Ordering::Relaxed);
        self.lingering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The group of a latency.
#[inline]
fn group(us: u64) -> usize {
    ((us | 1).ilog2() as usize / 3).min(GROUPS - 1)
}

/// A count and a sum out of their common word.
const fn split(word: u64) -> (u64, u64) {
    (word >> SUM_BITS, word & SUM_MASK)
}

/// The last 64 bits of the sum of so many squares of the mean of what makes `sum`.
fn squares(count: u64, sum: u64) -> u64 {
    let squares = u128::from(sum) * u128::from(sum) / u128::from(count.max(1));
    squares as u64
}

/// The stripes.
#[derive(Debug)]
pub(crate) struct Tally(Box<[CachePadded<Stripe>]>);

impl Tally {
    pub(crate) fn new() -> Self {
        Self(
            (0..stripe::count())
                .map(|_| CachePadded::default())
                .collect(),
        )
    }

    /// One slot of `class` has come to `outcome` after `us` microseconds; booked on the stripe with that number.
    #[inline]
    pub(crate) fn settle(&self, stripe: usize, class: Criticality, outcome: Outcome, us: u64) {
        let stripe = &self.0[stripe];
        if outcome == Outcome::Success && us < LONG_US {
            let one = (1 << SUM_BITS) | us;
            stripe.success[class.index()][group(us)].fetch_add(one, Ordering::Relaxed);
        } else {
            stripe.settle(class, outcome, us);
        }
    }

    /// A slot was held for `us` microseconds that belong to no outcome.
    pub(crate) fn hold(&self, us: u64) {
        let us = us.min(MAX_SAMPLE_US);
        self.mine().other_us.fetch_add(us, Ordering::Relaxed);
    }

    /// A slot stays in use from here on, whatever becomes of its sample.
    #[cfg(feature = "fleet")]
    pub(crate) fn begin_lingering(&self) {
        self.mine().lingering.fetch_add(1, Ordering::Relaxed);
    }

    /// One that stayed in use comes back, `us` microseconds later.
    #[cfg(feature = "fleet")]
    pub(crate) fn linger(&self, us: u64) {
        self.mine().end_lingering(|stripe| &stripe.lingered_us, us);
    }

    /// One that stayed in use for `us` microseconds is a request like others after all, which tells of that time itself.
    #[cfg(feature = "fleet")]
    pub(crate) fn retell(&self, us: u64) {
        self.mine().end_lingering(|stripe| &stripe.retold_us, us);
    }

    /// Slots that stay in use now.
    #[cfg(feature = "fleet")]
    pub(crate) fn lingering(&self) -> u32 {
        let all = self.0.iter().map(|it| it.lingering.load(Ordering::Relaxed));
        let now = all.fold(0, u64::wrapping_add) as i64;
        // One that ends while this adds may be missing where it began.
        u32::try_from(now.max(0)).unwrap_or(u32::MAX)
    }

    /// Counts a slot handed to somebody who waited for it.
    pub(crate) fn waited(&self) {
        self.mine().waits.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refusal of `class`; answers whether it is one to tell operators of.
    #[inline]
    pub(crate) fn shed(&self, class: Criticality, reason: Shed) -> bool {
        let stripe = self.mine();
        stripe.sheds[class.index()][reason.index()].fetch_add(1, Ordering::Relaxed);
        observe::ON && {
            let count = 1 + stripe.refusals.fetch_add(1, Ordering::Relaxed);
            count.is_multiple_of(1024) || count < 1024 && count.is_power_of_two()
        }
    }

    /// Empties the stripes.
    pub(crate) fn drain(&self) -> Totals {
        let take = |cell: &AtomicU64| match cell.load(Ordering::Relaxed) {
            0 => 0,
            _ => cell.swap(0, Ordering::Relaxed),
        };
        let mut sum = Totals::default();
        for stripe in &self.0 {
            let (overloads, overload_us) = split(take(&stripe.overload));
            let sheds = stripe
                .sheds
                .each_ref()
                .map(|class| class.each_ref().map(take));
            let mut success_us2 = 0_u64;
            let classes: [ClassTotals; CLASSES] = std::array::from_fn(|class| {
                let (mut successes, mut success_us) = (0, 0);
                for (group, cell) in stripe.success[class].iter().enumerate() {
                    let (count, mut sum) = split(take(cell));
                    if group == GROUPS - 1 {
                        sum += take(&stripe.long_success_us[class]);
                    }
                    (successes, success_us) = (successes + count, success_us + sum);
                    success_us2 = success_us2.wrapping_add(squares(count, sum));
                }
                ClassTotals {
                    successes,
                    success_us,
                    sheds: sheds[class].iter().sum(),
                }
            });
            sum.add(&Totals {
                successes: classes.iter().map(|class| class.successes).sum(),
                success_us: classes.iter().map(|class| class.success_us).sum(),
                success_us2,
                overloads,
                overload_us: overload_us + take(&stripe.long_overload_us),
                failures: take(&stripe.failures),
                ignored: take(&stripe.ignored),
                other_us: take(&stripe.other_us),
                lingered_us: take(&stripe.lingered_us),
                retold_us: take(&stripe.retold_us),
                sheds: std::array::from_fn(|reason| sheds.iter().map(|class| class[reason]).sum()),
                classes,
                waits: take(&stripe.waits),
            });
        }
        sum
    }

    #[inline]
    fn mine(&self) -> &Stripe {
        // The count is a power of two.
        &self.0[stripe::of_this_thread() & (self.0.len() - 1)]
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use super::*;

    #[cfg(feature = "fleet")]
    #[test]
    fn slots_that_stay_in_use_are_counted_until_they_come_back() {
        let tally = Tally::new();
        for _ in 0..3 {
            tally.begin_lingering();
        }
        tally.linger(5);
        assert_eq!(tally.lingering(), 2);
        tally.retell(7);
        let sum = tally.drain();
        assert_eq!((sum.lingered_us, sum.retold_us, sum.held_us()), (5, 7, 5));
        assert_eq!(tally.lingering(), 1);
    }

    #[test]
    fn draining_returns_everything_once() {
        let tally = Tally::new();
        tally.settle(0, Criticality::Default, Outcome::Success, 20);
        tally.settle(0, Criticality::Default, Outcome::Success, 30);
        tally.settle(0, Criticality::Default, Outcome::Overload, 7);
        tally.settle(0, Criticality::Default, Outcome::Failure, 1);
        tally.settle(0, Criticality::Default, Outcome::Ignore, 2);
        tally.hold(5);
        tally.shed(Criticality::Bulk, Shed::Fenced);
        tally.waited();
        let sum = tally.drain();
        assert_eq!((sum.successes, sum.success_us), (2, 50));
        assert_eq!((sum.overloads, sum.overload_us), (1, 7));
        assert_eq!((sum.failures, sum.ignored, sum.other_us), (1, 1, 8));
        assert_eq!(
            (sum.completions(), sum.held_us(), sum.shed_total()),
            (5, 65, 1)
        );
        assert_eq!((sum.sheds[Shed::Fenced.index()], sum.waits), (1, 1));
        assert_eq!(tally.drain(), Totals::default());
    }

    #[test]
    fn squares_are_those_of_the_means_of_groups() {
        let tally = Tally::new();
        let settle = |us| tally.settle(0, Criticality::Default, Outcome::Success, us);
        // From 512 to 4095, and from 2 097 152 on.
        [1_000, 3_000, 20_000_000].into_iter().for_each(settle);
        assert_eq!(tally.drain().success_us2, 8_000_000 + 400_000_000_000_000);
        [2_097_152, 20_000_000].into_iter().for_each(settle);
        let mean = u64::midpoint(2_097_152, 20_000_000);
        assert_eq!(tally.drain().success_us2, 2 * mean * mean);
        settle(0);
        assert_eq!(tally.drain().success_us2, 0);
    }

    #[test]
    fn a_long_latency_does_not_spill_into_the_count() {
        let tally = Tally::new();
        for _ in 0..3000 {
            tally.settle(0, Criticality::Default, Outcome::Success, LONG_US);
            tally.settle(0, Criticality::Default, Outcome::Success, LONG_US - 1);
            tally.settle(0, Criticality::Default, Outcome::Overload, u64::MAX);
        }
        let sum = tally.drain();
        assert_eq!((sum.successes, sum.overloads), (6000, 3000));
        assert_eq!(sum.success_us, 3000 * (2 * LONG_US - 1));
        assert_eq!(sum.overload_us, 3000 * MAX_SAMPLE_US);
    }
}
