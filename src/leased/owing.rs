//! Units of a key that were spent without asking: the store is told of them, and those that were not used after all go back
//! wherever they count by then.
//!
//! ```text
//!   owed --> asked --> booked there, or --> gone: used, come back by themselves, or of a question that was not heard
//!     |        |       out of the hand
//!     v        v          |
//!   nothing   (then)      v
//!                     in hand, as far as they keep
//! ```

use crate::leased::cell::{Cell, Sent};
use crate::leased::lease::{Hand, Lease};
use crate::leased::message::Told;
use crate::leased::tier::Setup;
use crate::time::LocalTime;

/// Under each policy.
#[derive(Clone, Debug)]
pub(super) struct Owing {
    /// Not known to be counted.
    pub(super) units: Box<[u64]>,
    /// The most of them that a question told of which was not heard; empty for none.
    unheard: Vec<u64>,
    /// What is counted, as it was booked, and may turn out not to have been used.
    counted: Option<Box<[Hand]>>,
}

impl Owing {
    pub(super) fn nothing(policies: usize) -> Self {
        Self {
            units: vec![0; policies].into(),
            unheard: Vec::new(),
            counted: None,
        }
    }

    /// Nobody knows what was told before and not heard: the store may have booked it then.
    pub(super) fn resume(&mut self) {
        self.unheard = vec![u64::MAX; self.units.len()];
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.units.iter().all(|units| *units == 0)
    }

    fn count(&mut self, place: usize, lease: Lease, now: LocalTime) {
        if lease.units > 0 {
            let nothing = || vec![Hand::default(); self.units.len()].into();
            let hand = &mut self.counted.get_or_insert_with(nothing)[place];
            hand.trim(now, 0);
            hand.add(lease);
        }
    }
}

impl Cell {
    /// Units that were spent without asking.
    pub(super) fn owe(&mut self, setup: &Setup, units: &[u64], now: LocalTime) {
        for (place, units) in units.iter().enumerate() {
            let hand = &mut self.hands[place];
            hand.trim(now, setup.late);
            let in_hand = u64::from(hand.usable(now, setup.late)).min(*units);
            let drawn = hand.draw(in_hand as u32);
            self.owing.count(place, drawn, now);
            let owing = &mut self.owing.units[place];
            *owing = owing.saturating_add(units - in_hand);
        }
    }

    /// Up to `units` that were spent without asking were not used. Answers how many there were.
    pub(super) fn disown(&mut self, units: u32, now: LocalTime) -> u32 {
        let mut most = 0;
        for place in 0..self.hands.len() {
            let mut left = u64::from(units);
            let owing = &mut self.owing.units[place];
            let asked = self.sent.as_ref().map_or(0, |sent| sent.owed[place]);
            let back = left.min(*owing - asked);
            *owing -= back;
            left -= back;
            if let Some(sent) = &mut self.sent {
                let unused = &mut sent.unused[place];
                let back = left.min(asked - *unused);
                *unused += back;
                left -= back;
            }
            left -= u64::from(self.take_in_hand(place, left as u32, now));
            most = most.max(units - left as u32);
        }
        most
    }

    /// The store has counted what question `number` told it: what it booked just now is at the end of a bucket.
    pub(super) fn handle_counted(
        &mut self,
        setup: &Setup,
        number: u64,
        sent: &Sent,
        told: &Told,
        now: LocalTime,
    ) {
        let terms = setup.terms(&told.states, told.now.moment(0));
        for (place, term) in terms.enumerate() {
            let owed = sent.owed[place];
            if owed == 0 {
                continue;
            }
            self.owing.units[place] -= owed;
            self.last[place] = number;
            // Nobody knows when the others were.
            let unheard = self.owing.unheard.get(place).copied().unwrap_or(0);
            let booked = u32::try_from(owed.saturating_sub(unheard)).unwrap_or(u32::MAX);
            let lease = Lease::new(booked, term.before(booked), sent.at, number);
            self.owing.count(place, lease, now);
            let unused = u32::try_from(sent.unused[place]).unwrap_or(u32::MAX);
            self.take_in_hand(place, unused, now);
        }
        self.owing.unheard.clear();
    }

    /// Nobody knows whether the store has counted what a question told it: it is told anew, without what was not used.
    pub(super) fn handle_uncounted(&mut self, sent: &Sent) {
        self.owing.unheard.resize(sent.owed.len(), 0);
        for (place, owed) in sent.owed.iter().enumerate() {
            self.owing.units[place] -= sent.unused[place];
            let unheard = &mut self.owing.unheard[place];
            *unheard = (*unheard).max(*owed);
        }
    }

    /// Nobody waits for the answer to the question under way any more: whatever it told of is told by somebody else, or
    /// never.
    pub(super) fn handle_given_up(&mut self) {
        if let Some(mut sent) = self.sent.take() {
            self.handle_uncounted(&sent);
            sent.owed.fill(0);
            sent.unused.fill(0);
            self.sent = Some(sent);
        }
    }

    /// Puts up to `units` in hand that are counted and were not used.
    fn take_in_hand(&mut self, place: usize, units: u32, now: LocalTime) -> u32 {
        match &mut self.owing.counted {
            Some(counted) => counted[place].move_last(units, now, &mut self.hands[place]),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::key::Key;
    use crate::leased::ledger::Ledger;
    use crate::leased::message::Ask;
    use crate::leased::tier::{Now, Setup, Tier};
    use crate::quota::Quota;
    use crate::rule::Rule;
    use crate::store::redis::rates::StoreMoment;
    use crate::time::LocalTime;
    use std::sync::Arc;
    use std::time::Duration;

    /// One key, and what the store has of it.
    struct Bed {
        tier: Tier,
        ledger: Ledger,
        rules: [Rule; 1],
        key: Key,
        millis: u64,
    }

    impl Bed {
        /// Another process has spent ten units: the next of a bucket do not begin to come back at once.
        fn new(quota: Quota) -> Self {
            let [mut bed, mut other] = [7, 8].map(|holder| {
                let setup = Arc::new(Setup::new(&[quota.into()], 32, 0, holder));
                Self {
                    tier: Tier::new(setup, 1),
                    ledger: Ledger::default(),
                    rules: [Rule::new(quota.into())],
                    key: Key::of("a"),
                    millis: 10_000,
                }
            });
            other.owe(10);
            let ask = other.ask();
            other.exchange(&ask);
            bed.ledger = other.ledger;
            bed
        }

        fn now(&self) -> Now {
            Now {
                local: LocalTime::from_nanos(self.millis * 1_000_000),
                round_trip: Duration::ZERO,
            }
        }

        fn owe(&mut self, units: u64) {
            self.tier.owe(self.key, &[units], self.now());
        }

        fn disown(&mut self, units: u32) -> u32 {
            self.tier.disown(self.key, units, self.now())
        }

        fn ask(&mut self) -> Ask {
            self.tier.poll_ask(self.now()).expect("something to say")
        }

        /// The store hears it.
        fn hear(&mut self, ask: &Ask) -> Option<crate::leased::message::Told> {
            let moment = StoreMoment::from_micros(self.millis * 1_000);
            self.ledger.exchange(&self.rules, ask, moment)
        }

        fn lose(&mut self, ask: &Ask) {
            self.tier.handle_failure(ask.key, ask.number, self.now());
        }

        fn exchange(&mut self, ask: &Ask) {
            let told = self.hear(ask).expect("a new question");
            let (now, mut served) = (self.now(), Vec::new());
            self.tier
                .handle_answer(ask.key, ask.number, &told, now, &mut served);
        }

        /// Units of this process that the store counts when everything has been said.
        fn counted(&mut self) -> u64 {
            for _ in 0..9 {
                self.millis += 1_000;
                while let Some(ask) = self.tier.poll_ask(self.now()) {
                    self.exchange(&ask);
                }
            }
            assert_eq!(self.tier.unreturned(self.now().local), 0);
            let moment = StoreMoment::from_micros(self.millis * 1_000);
            self.ledger.outstanding(&self.rules, 0, moment) - 10
        }
    }

    fn kinds() -> [Quota; 3] {
        // Nothing of it comes back within a test.
        let quota = Quota::new(100, Duration::from_secs(1_000_000)).unwrap();
        [quota, quota.fixed(), quota.sliding()]
    }

    #[test]
    fn what_was_not_used_goes_back_wherever_it_counts_by_then() {
        for quota in kinds() {
            // Before the store is asked.
            let mut bed = Bed::new(quota);
            bed.owe(10);
            assert_eq!(bed.disown(4), 4);
            assert_eq!(bed.counted(), 6, "{quota}");

            // While it is.
            let mut bed = Bed::new(quota);
            bed.owe(10);
            let ask = bed.ask();
            assert_eq!(bed.disown(4), 4);
            assert_eq!(bed.disown(9), 6);
            bed.exchange(&ask);
            assert_eq!(bed.counted(), 0, "{quota}");

            // When it has counted it; and no more than that.
            let mut bed = Bed::new(quota);
            bed.owe(10);
            let ask = bed.ask();
            bed.exchange(&ask);
            assert_eq!(bed.disown(4), 4);
            assert_eq!(bed.disown(9), 6);
            assert_eq!(bed.disown(9), 0);
            assert_eq!(bed.counted(), 0, "{quota}");
        }
    }

    #[test]
    fn where_the_question_or_its_answer_was_lost_it_goes_back_once() {
        for quota in kinds() {
            for heard in [true, false] {
                let mut bed = Bed::new(quota);
                bed.owe(10);
                let ask = bed.ask();
                if heard {
                    bed.hear(&ask);
                }
                assert_eq!(bed.disown(3), 3);
                bed.lose(&ask);
                assert_eq!(bed.disown(2), 2);
                bed.owe(8);
                assert_eq!(bed.disown(1), 1);
                bed.millis += 300;
                let ask = bed.ask();
                assert_eq!(ask.lines[0].owe, 12);
                bed.exchange(&ask);
                // Of what was told twice nobody knows when it was booked.
                assert_eq!(bed.disown(9), 2);
                assert_eq!(bed.counted(), 10, "{quota}, heard: {heard}");

                // Less than was told before.
                let mut bed = Bed::new(quota);
                bed.owe(10);
                let ask = bed.ask();
                if heard {
                    bed.hear(&ask);
                }
                bed.lose(&ask);
                assert_eq!(bed.disown(4), 4);
                assert_eq!(bed.counted(), 6, "{quota}, heard: {heard}");
            }
        }
    }

    #[test]
    fn what_is_left_to_others_is_what_was_used_and_is_given_back_by_them_alone() {
        for quota in kinds() {
            let mut bed = Bed::new(quota);
            bed.owe(10);
            bed.ask();
            assert_eq!(bed.disown(4), 4);
            // It ends before the answer comes.
            assert_eq!(bed.tier.take_owed(), [(bed.key, [6].into())], "{quota}");
            assert_eq!(bed.tier.take_owed(), []);
            assert_eq!(bed.disown(9), 0, "{quota}");
            // Nothing was used.
            let mut bed = Bed::new(quota);
            bed.owe(10);
            bed.ask();
            assert_eq!(bed.disown(10), 10);
            assert_eq!(bed.tier.take_owed(), [], "{quota}");
        }
    }

    #[test]
    fn what_was_taken_out_of_the_hand_goes_back_there() {
        for quota in kinds() {
            let mut bed = Bed::new(quota);
            bed.tier.wait(bed.key, 8, 1, bed.now());
            let ask = bed.ask();
            bed.tier.quit(bed.key, 1, bed.now());
            bed.exchange(&ask);
            bed.owe(10);
            assert_eq!(bed.disown(9), 9);
            assert_eq!(bed.counted(), 1, "{quota}");
        }
    }

    #[test]
    fn of_a_key_that_was_forgotten_nobody_knows_when_it_was_booked() {
        for quota in kinds() {
            let mut bed = Bed::new(quota);
            bed.owe(10);
            let ask = bed.ask();
            bed.hear(&ask);
            bed.lose(&ask);
            assert_eq!(bed.disown(10), 10);
            // There is room for one key.
            bed.tier.hint(Key::of("b"), 1, bed.now());
            assert!(!bed.tier.knows(bed.key));
            // It comes back before the store has heard that nothing was used.
            bed.owe(10);
            let ask = bed.ask();
            bed.exchange(&ask);
            assert_eq!(bed.disown(10), 0, "{quota}");
            assert_eq!(bed.counted(), 10, "{quota}");
        }
    }

    /// Others may have been booked in their place.
    #[test]
    fn what_has_begun_to_come_back_does_not_go_back_as_well() {
        let mut bed = Bed::new(Quota::per_second(10));
        bed.owe(5);
        let ask = bed.ask();
        bed.exchange(&ask);
        bed.millis += 1_250;
        assert_eq!(bed.disown(5), 2);
        let mut bed = Bed::new(Quota::per_second(10).fixed());
        bed.owe(5);
        let ask = bed.ask();
        bed.exchange(&ask);
        bed.millis += 1_000;
        assert_eq!(bed.disown(5), 0);
    }
}
