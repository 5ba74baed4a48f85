//! What was booked on a key and may be given back.

use crate::decision::Decision;
use crate::key::Key;
use crate::limiter::local::Local;
use crate::limiter::overflow::Overflown;
use crate::limiter::refunds::{Counting, Open, Refunds};
use crate::rule::{Moment, Refund, Tat};
use crate::time::LocalTime;
use std::sync::Arc;

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
    /// Where the limiter has it that booked it.
    pub(super) place: Place,
    open: Open,
}

/// Where a booking is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) marks: Marks,
    /// If that is an overflow cell.
    overflown: Option<Overflown>,
}

impl Place {
    /// The same in the limiter that has taken over, with the `marks` that it has there. One that was on an overflow cell
    /// does not move.
    pub(super) const fn moved(marks: Marks) -> Self {
        Self {
            marks,
            overflown: None,
        }
    }
}

impl Booking {
    const fn refund(&self, units: u32, others: u64) -> Refund {
        Refund {
            units,
            booked: self.booked,
            others,
        }
    }
}

impl Marks {
    /// One for each rule.
    pub(super) fn each(&self) -> &[u64] {
        match self {
            Self::One(mark) => std::slice::from_ref(mark),
            Self::Each(marks) => marks,
        }
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
        refunds: &Arc<Refunds>,
    ) -> Option<Booking> {
        let open = refunds.open(key);
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
            place: Place { marks, overflown },
            open,
        })
    }

    /// Gives back `units` of a booking that is in this `place` here.
    pub(super) fn give_back(
        &self,
        key: Key,
        booking: &Booking,
        place: &Place,
        units: u32,
        at: Moment,
        counting: Counting<'_>,
    ) -> Option<()> {
        if units == 0 {
            return Some(());
        }
        if let Some(overflown) = place.overflown {
            self.give_back_overflown(key, booking, overflown, units, at, counting);
            return Some(());
        }
        let refund = || {
            counting.count(key, units);
            booking.refund(units, booking.open.others(units))
        };
        match (self, &place.marks) {
            (Self::Bucket(bucket), Marks::One(mark)) => bucket.change(key, |rule, bits| {
                rule.give_back(bits, refund(), Tat::from_bits(*mark), at.now)
            }),
            (Self::Several(several), Marks::Each(marks)) => several.change(key, |rules, state| {
                rules.give_back(state, refund(), marks, at);
            }),
            (Self::Bucket(_), Marks::Each(_)) | (Self::Several(_), Marks::One(_)) => {
                unreachable!("a limiter keeps its rules")
            }
        }
    }

    /// The same of a booking on an overflow cell, which is where it was booked.
    fn give_back_overflown(
        &self,
        key: Key,
        booking: &Booking,
        overflown: Overflown,
        units: u32,
        at: Moment,
        counting: Counting<'_>,
    ) {
        let own = || {
            counting.count(key, units);
            booking.open.others(units)
        };
        match (self, &booking.place.marks) {
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
        counting: Counting<'_>,
    ) -> Option<()> {
        match self {
            Self::Bucket(bucket) => bucket.change(key, |rule, bits| {
                counting.count(key, units);
                let refund = Refund {
                    units,
                    booked: at.now,
                    others: 0,
                };
                rule.give_back(bits, refund, bits, at.now)
            }),
            Self::Several(several) => several.change(key, |rules, state| {
                counting.count(key, units);
                rules.give_back_last(state, units, at);
            }),
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
