//! What a handler sees of its slot, and how it keeps it.

use crate::decision::Decision;
use crate::fence::FenceToken;
use crate::headers;
use crate::permit::{Outcome, Shed};
use crate::slot::shared::Shared;

/// How a request came past the guard.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Admission {
    /// With a slot.
    Admitted,
    /// Without one: the layer was told to let such requests pass.
    Exempt,
    /// Without one: the guard would have refused it, but the layer only watches (shadow mode).
    Shadowed(Shed),
    /// No guard was asked.
    Unguarded,
}

/// A request's view of its slot: what was decided, when to stop, and a way to keep the slot beyond the response.
///
/// The layers put one into the request's extensions. It is cheap to clone and owns nothing: a forgotten clone keeps
/// no slot in use.
#[derive(Clone, Debug)]
pub struct Slot {
    admission: Admission,
    rate: Option<Decision>,
    shared: Option<Shared>,
}

impl Slot {
    /// A slot of a request that no lease guards. `outer` is the slot of the layer around, if any.
    #[must_use]
    pub fn without_lease(admission: Admission, outer: Option<&Self>) -> Self {
        Self {
            admission,
            rate: outer.and_then(|outer| outer.rate),
            shared: outer.and_then(|outer| outer.shared.clone()),
        }
    }

    /// A slot that tells of a rate limit's decision, beside what the slot of the layer around tells.
    // For adapters alone: it may change in any release.
    #[doc(hidden)]
    #[must_use]
    pub fn rated(decision: Decision, outer: Option<&Self>) -> Self {
        let mut slot = outer
            .cloned()
            .unwrap_or_else(|| Self::without_lease(Admission::Unguarded, None));
        slot.rate = match slot.rate {
            Some(other) => headers::binding(&[other, decision]).copied(),
            None => Some(decision),
        };
        slot
    }

    pub(super) fn of(shared: &Shared, outer: Option<&Self>) -> Self {
        Self {
            admission: Admission::Admitted,
            rate: outer.and_then(|outer| outer.rate),
            shared: Some(shared.clone()),
        }
    }

    pub(super) fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// What the innermost guard decided.
    #[must_use]
    pub const fn decision(&self) -> Admission {
        self.admission
    }

    /// What the rate limits decided; of several the [`binding`](headers::binding) decision. In shadow mode that may
    /// be a denial.
    #[must_use]
    pub const fn rate(&self) -> Option<&Decision> {
        self.rate.as_ref()
    }

    /// A token that is cancelled when this process's lease on its slots runs out. Already cancelled when the slot is
    /// gone; never cancelled when no lease guards the request.
    #[must_use]
    pub fn token(&self) -> FenceToken {
        token(self.shared.as_ref())
    }

    /// Keeps the slot in use until the [`Hold`] goes, also beyond the end of the response: for the socket after an
    /// upgrade, or for work that a client's hanging up does not stop.
    ///
    /// `None` when the slot was given back already: whoever gets it must not go on as if it were guarded. A request
    /// that passed without a lease gets a `Hold` that keeps nothing.
    ///
    /// Slots of the layers around are kept too.
    #[must_use = "dropping a hold lets go of the slot at once"]
    pub fn hold(&self) -> Option<Hold> {
        match &self.shared {
            None => Some(Hold {
                shared: None,
                outer: None,
            }),
            Some(shared) => Hold::on(shared),
        }
    }
}

/// Keeps a slot in use. The last owner gives it back; the first outcome counts.
///
/// Dropping it says nothing about the backend. Made by [`Slot::hold`].
#[derive(Debug)]
#[must_use = "dropping a hold lets go of the slot at once"]
pub struct Hold {
    shared: Option<Shared>,
    /// Only with one guard inside another.
    outer: Option<Box<Self>>,
}

impl Hold {
    fn on(shared: &Shared) -> Option<Self> {
        shared.join().then(|| Self {
            shared: Some(shared.clone()),
            outer: shared.outer().and_then(Self::on).map(Box::new),
        })
    }

    /// Served: the time since admission is a latency sample, unless the response told its outcome before.
    pub fn success(self) {
        self.finish(Outcome::Success);
    }

    /// An application error.
    pub fn failure(self) {
        self.finish(Outcome::Failure);
    }

    /// The backend said no or timed out.
    pub fn overload(self) {
        self.finish(Outcome::Overload);
    }

    /// Nothing was learnt, whatever the response says later.
    pub fn ignore(self) {
        self.finish(Outcome::Ignore);
    }

    /// Lets go of the slot with `outcome`.
    pub fn finish(mut self, outcome: Outcome) {
        self.observe(outcome);
    }

    /// Settles the outcome and its latency now and keeps the slot.
    pub fn observe(&mut self, outcome: Outcome) {
        if let Some(shared) = &self.shared {
            shared.with(|lease| {
                lease.observe(outcome);
                lease.keep_beyond();
            });
        }
        if let Some(outer) = &mut self.outer {
            outer.observe(outcome);
        }
    }

    /// As [`Slot::token`].
    #[must_use]
    pub fn token(&self) -> FenceToken {
        token(self.shared.as_ref())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.leave();
        }
    }
}

fn token(shared: Option<&Shared>) -> FenceToken {
    shared.map_or_else(FenceToken::never, |shared| {
        shared
            .with(|lease| lease.lease().token())
            .unwrap_or_else(FenceToken::cancelled_already)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adaptive::LocalGuard;
    use crate::slot::Carrier;
    use crate::{ConcurrencyGuard, Criticality};

    fn carried(guard: &LocalGuard) -> (Carrier, Slot) {
        let mut carrier = Carrier::new(guard.try_acquire(Criticality::Default).unwrap());
        let slot = carrier.slot(None);
        (carrier, slot)
    }

    fn totals(guard: &LocalGuard) -> crate::permit::Totals {
        let reader = guard.try_acquire(Criticality::Default).unwrap();
        reader.gate().totals()
    }

    #[test]
    fn a_slot_owns_nothing() {
        let guard = LocalGuard::fixed(1);
        let (carrier, slot) = carried(&guard);
        assert_eq!(slot.decision(), Admission::Admitted);
        drop(carrier);
        assert_eq!(guard.in_flight(), 0);
        assert!(slot.hold().is_none());
        assert!(slot.token().is_cancelled());
    }

    #[test]
    fn the_last_owner_gives_the_slot_back() {
        let guard = LocalGuard::fixed(1);
        let (carrier, slot) = carried(&guard);
        let (first, second) = (slot.hold().unwrap(), slot.hold().unwrap());
        drop(first);
        drop(carrier);
        assert_eq!(guard.in_flight(), 1);
        let third = slot.hold().unwrap();
        second.success();
        assert_eq!(guard.in_flight(), 1);
        drop(third);
        assert_eq!(guard.in_flight(), 0);
        assert!(slot.hold().is_none());
    }

    #[test]
    fn the_first_outcome_counts() {
        let guard = LocalGuard::fixed(2);
        let (carrier, slot) = carried(&guard);
        slot.hold().unwrap().overload();
        slot.hold().unwrap().success();
        drop(carrier);
        let totals = totals(&guard);
        assert_eq!((totals.overloads, totals.completions()), (1, 1));
    }

    #[test]
    fn a_hold_keeps_the_slots_of_the_layers_around() {
        let (outside, inside) = (LocalGuard::fixed(1), LocalGuard::fixed(1));
        let (outer_carrier, outer) = carried(&outside);
        let mut carrier = Carrier::new(inside.try_acquire(Criticality::Default).unwrap());
        let slot = carrier.slot(Some(&outer));
        let hold = slot.hold().unwrap();
        drop((carrier, outer_carrier));
        assert_eq!((outside.in_flight(), inside.in_flight()), (1, 1));
        drop(hold);
        assert_eq!((outside.in_flight(), inside.in_flight()), (0, 0));
    }

    #[test]
    fn a_request_without_a_lease_holds_nothing_and_goes_on() {
        let slot = Slot::without_lease(Admission::Exempt, None);
        assert_eq!(slot.decision(), Admission::Exempt);
        assert!(!slot.token().is_cancelled());
        slot.hold().expect("nothing to lose").success();
    }

    #[test]
    fn the_binding_rate_decision_reaches_the_innermost_slot() {
        let limiter = |limit| crate::RateLimiter::new(crate::Quota::per_second(limit));
        let wide = limiter(10).check(&crate::Key::EVERYONE, 1);
        let narrow = limiter(3).check(&crate::Key::EVERYONE, 1);
        let outer = Slot::rated(narrow, Some(&Slot::rated(wide, None)));
        assert_eq!(outer.decision(), Admission::Unguarded);
        let guard = LocalGuard::fixed(1);
        let mut carrier = Carrier::new(guard.try_acquire(Criticality::Default).unwrap());
        let slot = carrier.slot(Some(&outer));
        assert_eq!(slot.rate(), Some(&narrow));
        assert_eq!(slot.decision(), Admission::Admitted);
        let inner = Slot::rated(wide, Some(&slot));
        assert_eq!(
            (inner.rate(), inner.decision()),
            (Some(&narrow), Admission::Admitted)
        );
    }

    #[test]
    fn an_exempt_slot_inside_a_guard_holds_what_is_around_it() {
        let guard = LocalGuard::fixed(1);
        let (carrier, outer) = carried(&guard);
        let slot = Slot::without_lease(Admission::Exempt, Some(&outer));
        let hold = slot.hold().unwrap();
        drop(carrier);
        assert_eq!(guard.in_flight(), 1);
        drop(hold);
        assert_eq!(guard.in_flight(), 0);
    }

    #[test]
    fn holding_while_the_response_ends_loses_and_doubles_nothing() {
        let guard = LocalGuard::fixed(1);
        for _ in 0..2_000 {
            let (carrier, slot) = carried(&guard);
            std::thread::scope(|scope| {
                let holders = [slot.clone(), slot].map(|slot| {
                    scope.spawn(move || {
                        if let Some(hold) = slot.hold() {
                            assert!(!hold.token().is_cancelled());
                        }
                    })
                });
                drop(carrier);
                for holder in holders {
                    holder.join().unwrap();
                }
            });
            assert_eq!(guard.in_flight(), 0);
        }
        assert_eq!(totals(&guard).completions(), 2_000);
    }
}
