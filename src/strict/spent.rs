//! Units that were spent on a key without the store, as a state of the limiter's own rules: what has come back by itself
//! counts no more.

use crate::rule::{Carry, Moment, Rule};
use crate::time::LocalTime;

/// Under each rule, on the store's clock as it is known here.
#[derive(Clone, Debug)]
pub(super) struct Spent {
    state: Box<[u64]>,
    /// When something was booked last. Of a clock that has been put back behind it, nobody knows how much has come back
    /// since: nothing has, then.
    booked: Moment,
}

impl Spent {
    pub(super) fn nothing(rules: &[Rule], at: Moment) -> Self {
        let words: usize = rules.iter().map(Rule::words).sum();
        Self {
            state: vec![0; words].into(),
            booked: at,
        }
    }

    /// A number of units for each rule.
    pub(super) fn of(rules: &[Rule], units: &[u64], at: Moment) -> Self {
        let mut spent = Self::nothing(rules, at);
        spent.book(rules, units, at);
        spent
    }

    /// A number of units for each rule.
    pub(super) fn book(&mut self, rules: &[Rule], units: &[u64], at: Moment) {
        self.booked = self.not_before(at);
        let mut rest = &mut *self.state;
        for (rule, units) in rules.iter().zip(units) {
            let (own, others) = rest.split_at_mut(rule.words());
            let units = u32::try_from(*units).unwrap_or(u32::MAX);
            rule.book(own, units, self.booked);
            rest = others;
        }
    }

    pub(super) fn give_back_last(&mut self, rules: &[Rule], units: u32, at: Moment) {
        self.give_back_each(rules, std::iter::repeat(units.into()), at);
    }

    /// A number of units for each rule.
    pub(super) fn give_back_each(
        &mut self,
        rules: &[Rule],
        units: impl IntoIterator<Item = u64>,
        at: Moment,
    ) {
        let at = self.not_before(at);
        let mut rest = &mut *self.state;
        for (rule, units) in rules.iter().zip(units) {
            let (own, others) = rest.split_at_mut(rule.words());
            let units = u32::try_from(units).unwrap_or(u32::MAX);
            rule.give_back_last(own, units, at);
            rest = others;
        }
    }

    /// What has not come back, under each rule.
    pub(super) fn outstanding(
        &self,
        rules: &[Rule],
        at: Moment,
    ) -> impl ExactSizeIterator<Item = u64> {
        let at = self.not_before(at);
        let mut rest = &*self.state;
        rules.iter().map(move |rule| {
            let (own, others) = rest.split_at(rule.words());
            rest = others;
            rule.outstanding(own, at)
        })
    }

    /// Whether all of it has come back under every rule.
    pub(super) fn is_back(&self, rules: &[Rule], at: Moment) -> bool {
        self.outstanding(rules, at).all(|units| units == 0)
    }

    /// When it has.
    pub(super) fn over(&self, rules: &[Rule]) -> LocalTime {
        let mut rest = &*self.state;
        let resets = rules.iter().map(|rule| {
            let (own, others) = rest.split_at(rule.words());
            rest = others;
            rule.ask(own, 0, self.booked).reset_after()
        });
        let last = resets.max().unwrap_or_default();
        self.booked.now.saturating_add(last)
    }

    /// The same under the rules `next`; none if it counts under none of them.
    pub(super) fn carried(&self, carry: &Carry, next: &[Rule], at: Moment) -> Option<Self> {
        let mut carried = Self::nothing(next, self.booked);
        carry.carry(&self.state, &mut carried.state, self.not_before(at));
        (!carried.is_back(next, at)).then_some(carried)
    }

    fn not_before(&self, at: Moment) -> Moment {
        if at.now < self.booked.now {
            self.booked
        } else {
            at
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{Calendar, Quota};
    use crate::time::WallTime;

    fn rules(quotas: &[Quota]) -> Vec<Rule> {
        let rules = quotas.iter().map(|quota| Rule::new((*quota).into()));
        rules.collect()
    }

    fn at(millis: u64) -> Moment {
        let nanos = millis * 1_000_000;
        Moment::at(LocalTime::from_nanos(nanos)).on(WallTime::from_unix_nanos(nanos))
    }

    fn left(spent: &Spent, rules: &[Rule], millis: u64) -> Vec<u64> {
        spent.outstanding(rules, at(millis)).collect()
    }

    fn kinds() -> [Quota; 6] {
        let quota = Quota::per_second(10);
        [
            quota,
            quota.fixed(),
            quota.sliding(),
            quota.sliding_log(),
            quota.soft(8),
            Quota::calendar(10, Calendar::MONTH),
        ]
    }

    /// Or what has not come back would be forgotten, and what has would never be.
    #[test]
    fn it_is_over_when_all_of_it_has_come_back_and_no_sooner() {
        for quota in kinds() {
            let rules = rules(&[quota, Quota::per_second(20)]);
            let mut rng = fastrand::Rng::with_seed(7);
            for _ in 0..200 {
                let mut spent = Spent::nothing(&rules, at(5_000));
                for _ in 0..rng.u32(1..5) {
                    let (units, millis) = (rng.u64(1..5), rng.u64(5_000..7_500));
                    spent.book(&rules, &[units, units], at(millis));
                    spent.give_back_last(&rules, rng.u32(0..3), at(millis));
                }
                let over = spent.over(&rules);
                let before = over.as_nanos() / 1_000_000;
                let after = over.as_nanos().div_ceil(1_000_000) + 1;
                assert!(spent.is_back(&rules, at(after)), "{quota}: {spent:?}");
                let none = spent.is_back(&rules, spent.booked);
                assert!(
                    none || before < 2 || !spent.is_back(&rules, at(before - 1)),
                    "{quota}: {spent:?}"
                );
            }
        }
    }

    #[test]
    fn a_clock_that_was_put_back_makes_no_more_of_it() {
        let hour = 3_600_000;
        for quota in kinds() {
            let rules = rules(&[quota]);
            let mut spent = Spent::of(&rules, &[3], at(hour));
            assert_eq!(left(&spent, &rules, 1_000), [3], "{quota}");
            spent.book(&rules, &[2], at(1_000));
            assert_eq!(left(&spent, &rules, 1_000), [5], "{quota}");
            spent.give_back_last(&rules, 4, at(1_000));
            assert_eq!(left(&spent, &rules, 1_000), [1], "{quota}");
            assert_eq!(left(&spent, &rules, hour), [1], "{quota}");
        }
    }
}
