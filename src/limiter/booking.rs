//! What was booked on a key and may be given back.

use crate::decision::Decision;
use crate::key::Key;
use crate::limiter::local::Local;
use crate::limiter::overflow::Overflown;
use crate::rule::{Moment, Refund, Tat};
use crate::time::LocalTime;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the units of a booking are: one word under a single token bucket, else one a rule.
#[derive(Debug)]
pub(super) enum Marks {
    One(u64),
    Each(Box<[u64]>),
}

/// A booking, as its refund needs to know it.
#[derive(Debug)]
pub(super) struct Booking {
    pub(super) decision: Decision,
    booked: LocalTime,
    marks: Marks,
    /// What had been given back on the key before, and on those that share its count.
    refunded: u64,
    /// Where it is, if that is an overflow cell.
    overflown: Option<Overflown>,
}

/// Units given back, by a part of the key: refunds on one key have to know of each other, and one more than there was
/// only makes them give back less.
#[derive(Debug)]
pub(super) struct Refunded([AtomicU64; 64]);

impl Default for Refunded {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; 64])
    }
}

impl Booking {
    /// The same for the limiter that has taken over from the one that booked it, with the `marks` that it has there and
    /// all that was given back `before`.
    pub(super) fn moved(&self, key: Key, before: &Refunded, marks: Marks) -> Self {
        // The other limiter counts from 0.
        let earlier = before.of(key).load(Ordering::SeqCst);
        Self {
            decision: self.decision,
            booked: self.booked,
            marks,
            refunded: self.refunded.wrapping_sub(earlier),
            // One that was on an overflow cell does not move.
            overflown: None,
        }
    }

    const fn refund(&self, units: u32, others: u64) -> Refund {
        Refund {
            units,
            booked: self.booked,
            others,
        }
    }

    /// What was given back on the key since, as far as `refunded` has counted it, but for these `units`.
    fn others(&self, units: u32, refunded: &AtomicU64) -> u64 {
        let since = refunded.load(Ordering::SeqCst).wrapping_sub(self.refunded);
        since.saturating_sub(units.into())
    }

    /// One for each rule.
    pub(super) fn marks(&self) -> &[u64] {
        match &self.marks {
            Marks::One(mark) => std::slice::from_ref(mark),
            Marks::Each(marks) => marks,
        }
    }
}

impl Refunded {
    fn of(&self, key: Key) -> &AtomicU64 {
        &self.0[key.halves()[1] as usize % self.0.len()]
    }
}

impl Local {
    /// Marks of the rules here, in the form that they have here.
    pub(super) fn marks(&self, each: Box<[u64]>) -> Marks {
        match self {
            Self::Bucket(_) => Marks::One(each[0]),
            Self::Several(_) => Marks::Each(each),
        }
    }

    /// As [`Self::check`], so that it can be given back.
    pub(super) fn reserve(
        &self,
        key: Key,
        cost: u32,
        at: Moment,
        refunded: &Refunded,
    ) -> Option<Booking> {
        // Read before it is booked: whatever is given back in between counts as given back after.
        let refunded = refunded.of(key).load(Ordering::SeqCst);
        let mut overflown = None;
        let (decision, marks) = match self {
            Self::Bucket(bucket) => {
                let mut mark = 0;
                let decision = bucket.step_noting(key, at, &mut overflown, |rule, bits| {
                    let (decision, after) = rule.decide(bits, cost, at.now);
                    mark = after.to_bits();
                    (decision, after)
                })?;
                (decision, Marks::One(mark))
            }
            Self::Several(several) => {
                let mut marks = Box::default();
                let decision = several.step_noting(key, at, &mut overflown, |rules, state| {
                    let decision = rules.decide(state, cost, at);
                    marks = rules.marks(state);
                    decision
                })?;
                (decision, Marks::Each(marks))
            }
        };
        Some(Booking {
            decision,
            booked: at.now,
            marks,
            refunded,
            overflown,
        })
    }

    /// Gives back `units` of a booking.
    pub(super) fn give_back(
        &self,
        key: Key,
        booking: &Booking,
        units: u32,
        at: Moment,
        refunded: &Refunded,
    ) -> Option<()> {
        if units == 0 {
            return Some(());
        }
        let refunded = refunded.of(key);
        if let Some(overflown) = booking.overflown {
            self.give_back_overflown(key, booking, overflown, units, at, refunded);
            return Some(());
        }
        // Counted before it is given back, so that nobody sees a state that it has moved without knowing of it.
        refunded.fetch_add(units.into(), Ordering::SeqCst);
        let refund = || booking.refund(units, booking.others(units, refunded));
        let given = match (self, &booking.marks) {
            (Self::Bucket(bucket), Marks::One(mark)) => bucket.change(key, |rule, bits| {
                rule.give_back(bits, refund(), Tat::from_bits(*mark), at.now)
            }),
            (Self::Several(several), Marks::Each(marks)) => several.change(key, |rules, state| {
                rules.give_back(state, refund(), marks, at);
            }),
            (Self::Bucket(_), Marks::Each(_)) | (Self::Several(_), Marks::One(_)) => {
                unreachable!("a limiter keeps its rules")
            }
        };
        if given.is_none() {
            // It is counted where it is given back.
            refunded.fetch_sub(units.into(), Ordering::SeqCst);
        }
        given
    }

    /// The same of a booking on an overflow cell.
    fn give_back_overflown(
        &self,
        key: Key,
        booking: &Booking,
        overflown: Overflown,
        units: u32,
        at: Moment,
        refunded: &AtomicU64,
    ) {
        let own = || {
            refunded.fetch_add(units.into(), Ordering::SeqCst);
            booking.others(units, refunded)
        };
        match (self, &booking.marks) {
            (Self::Bucket(bucket), Marks::One(mark)) => {
                let mark = Tat::from_bits(*mark);
                bucket.give_back_overflown(key, overflown, units, own, |rule, bits, others| {
                    rule.give_back(bits, booking.refund(units, others), mark, at.now)
                });
            }
            (Self::Several(several), Marks::Each(marks)) => {
                several.give_back_overflown(key, overflown, units, own, |rules, state, others| {
                    rules.give_back(state, booking.refund(units, others), marks, at);
                });
            }
            (Self::Bucket(_), Marks::Each(_)) | (Self::Several(_), Marks::One(_)) => {
                unreachable!("a limiter keeps its rules")
            }
        }
    }

    /// Gives back the `units` that were booked last on `key`.
    pub(super) fn give_back_last(
        &self,
        key: Key,
        units: u32,
        at: Moment,
        refunded: &Refunded,
    ) -> Option<()> {
        refunded.of(key).fetch_add(units.into(), Ordering::SeqCst);
        match self {
            Self::Bucket(bucket) => bucket.change(key, |rule, bits| {
                let refund = Refund {
                    units,
                    booked: at.now,
                    others: 0,
                };
                rule.give_back(bits, refund, bits, at.now)
            }),
            Self::Several(several) => {
                several.change(key, |rules, state| rules.give_back_last(state, units, at))
            }
        }
    }

    /// Books `units` whether they fit or not.
    pub(super) fn book(&self, key: Key, units: u32, at: Moment) -> Option<()> {
        if units == 0 {
            return Some(());
        }
        let told = match self {
            Self::Bucket(bucket) => bucket.step_noting(key, at, &mut None, |rule, bits| {
                let after = rule.book(bits, units, at.now);
                (rule.decide(after, 0, at.now).0, after)
            }),
            Self::Several(several) => several.step(key, at, |rules, state| {
                rules.book(state, units, at);
                rules.ask(state, 0, at)
            }),
        };
        told.map(|_| ())
    }
}
