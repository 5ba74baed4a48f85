//! What keys that were forgotten have to say: told again until the store has answered, or until the key comes back and
//! says it itself.
//!
//! Questions are numbered, so one that was heard though its answer was not changes nothing when it comes again.

use crate::key::Key;
use crate::leased::asking::RETRY;
use crate::leased::message::Ask;
use crate::time::LocalTime;
use std::collections::{HashMap, VecDeque};

#[derive(Debug)]
pub(super) struct Parting {
    /// To be sent at once.
    first: VecDeque<Ask>,
    /// To be sent again, in the order of when.
    again: VecDeque<(LocalTime, Ask)>,
    /// All that is not confirmed, but for what there was no room for.
    unheard: HashMap<Key, Ask>,
    room: usize,
    closing: bool,
}

impl Parting {
    /// As many may be unheard as there are keys; what is more is told once.
    pub(super) fn new(room: usize) -> Self {
        Self {
            first: VecDeque::new(),
            again: VecDeque::new(),
            unheard: HashMap::new(),
            room,
            closing: false,
        }
    }

    pub(super) fn push(&mut self, ask: Ask) {
        if self.unheard.len() < self.room {
            self.unheard.insert(ask.key, ask.clone());
        }
        self.first.push_back(ask);
    }

    /// The next that is to be sent.
    pub(super) fn poll(&mut self, now: LocalTime) -> Option<Ask> {
        if let Some(ask) = self.first.pop_front() {
            return Some(ask);
        }
        let due = self.again.front().is_some_and(|(at, _)| *at <= now);
        due.then(|| self.again.pop_front())
            .flatten()
            .map(|(_, ask)| ask)
    }

    pub(super) fn poll_timeout(&self) -> LocalTime {
        match (self.first.front(), self.again.front()) {
            (Some(_), _) => LocalTime::ZERO,
            (None, Some((at, _))) => *at,
            (None, None) => LocalTime::NEVER,
        }
    }

    pub(super) fn handle_answer(&mut self, key: Key, number: u64) {
        if self.is_unheard(key, number) {
            self.unheard.remove(&key);
        }
    }

    /// While it is closing nothing is said twice.
    pub(super) fn handle_failure(&mut self, key: Key, number: u64, now: LocalTime) {
        if !self.is_unheard(key, number) {
            return;
        }
        if self.closing {
            self.unheard.remove(&key);
        } else {
            let ask = self.unheard[&key].clone();
            self.again.push_back((now.saturating_add(RETRY), ask));
        }
    }

    /// The key has come back, and says from now on what it had to say.
    pub(super) fn take(&mut self, key: Key) -> Option<Ask> {
        let ask = self.unheard.remove(&key)?;
        self.first.retain(|it| it.key != key);
        self.again.retain(|(_, it)| it.key != key);
        Some(ask)
    }

    /// What waits to be said again is said now.
    pub(super) fn close(&mut self) {
        self.closing = true;
        self.first.extend(self.again.drain(..).map(|(_, ask)| ask));
    }

    /// Units that are on their way back.
    pub(super) fn unreturned(&self) -> u64 {
        let most = |ask: &Ask| ask.lines.iter().map(|line| line.give).max();
        let units = self.unheard.values().filter_map(most).map(u64::from);
        units.sum()
    }

    fn is_unheard(&self, key: Key, number: u64) -> bool {
        let ask = self.unheard.get(&key);
        ask.is_some_and(|ask| ask.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leased::ledger::Ledger;
    use crate::leased::tier::{Now, Setup, Tier};
    use crate::quota::Quota;
    use crate::store::redis::rates::StoreMoment;
    use std::sync::Arc;
    use std::time::Duration;

    fn at(millis: u64) -> Now {
        Now {
            local: LocalTime::from_nanos(millis * 1_000_000),
            round_trip: Duration::ZERO,
        }
    }

    fn exchange(tier: &mut Tier, ledger: &mut Ledger, ask: &Ask, now: Now) {
        let rules = [crate::rule::Rule::new(Quota::per_hour(100).fixed().into())];
        let moment = StoreMoment::from_micros(7_000_000);
        if let Some(told) = ledger.exchange(&rules, ask, moment) {
            let mut served = Vec::new();
            tier.handle_answer(ask.key, ask.number, &told, now, &mut served);
        }
    }

    /// Room for one key, of which ten units are in hand; another one comes. What the first has to say.
    fn evicted(ledger: &mut Ledger) -> (Tier, Ask) {
        let policies = [Quota::per_hour(100).fixed().into()];
        let setup = Arc::new(Setup::new(&policies, 32, 0, 7));
        let mut tier = Tier::new(setup, 1);
        let [first, other] = ["first", "other"].map(Key::of);
        tier.wait(first, 10, 1, at(0));
        let ask = tier.poll_ask(at(0)).expect("it is waited for");
        tier.quit(first, 1, at(0));
        exchange(&mut tier, ledger, &ask, at(0));
        assert_eq!((ledger.booked(0), tier.unreturned(at(0).local)), (10, 10));
        tier.wait(other, 0, 2, at(1));
        assert_eq!(tier.evicted(), 1);
        let parting = tier.poll_ask(at(1)).expect("ten units");
        assert_eq!((parting.key, parting.lines[0].give), (first, 10));
        (tier, parting)
    }

    #[test]
    fn what_a_forgotten_key_gives_back_is_said_until_it_is_heard() {
        let mut ledger = Ledger::default();
        let (mut tier, parting) = evicted(&mut ledger);
        // Lost on the way, twice.
        for millis in [1, 301] {
            tier.handle_failure(parting.key, parting.number, at(millis));
            assert_eq!(tier.unreturned(at(millis).local), 10);
            assert_eq!(tier.poll_ask(at(millis + 299)), None);
            assert_eq!(tier.poll_ask(at(millis + 300)), Some(parting.clone()));
        }
        exchange(&mut tier, &mut ledger, &parting, at(602));
        assert_eq!((ledger.booked(0), tier.unreturned(at(602).local)), (0, 0));
        assert_eq!(tier.poll_ask(at(9_000)), None);
    }

    #[test]
    fn a_key_that_comes_back_says_itself_what_was_not_heard() {
        // The store has heard, or not.
        for heard in [true, false] {
            let mut ledger = Ledger::default();
            let (mut tier, parting) = evicted(&mut ledger);
            if heard {
                let mut lost = tier_of_nobody();
                exchange(&mut lost, &mut ledger, &parting, at(1));
            }
            tier.handle_failure(parting.key, parting.number, at(1));
            tier.quit(Key::of("other"), 2, at(2));
            tier.wait(parting.key, 3, 3, at(2));
            let asks: Vec<Ask> = std::iter::from_fn(|| tier.poll_ask(at(2))).collect();
            let ask = asks.iter().find(|ask| ask.key == parting.key);
            let ask = ask.expect("it is waited for");
            assert_eq!((ask.heard, ask.lines[0].give), (parting.heard, 10));
            exchange(&mut tier, &mut ledger, ask, at(3));
            assert_eq!(ledger.booked(0), 3, "heard: {heard}");
        }
    }

    /// For an answer that nobody hears.
    fn tier_of_nobody() -> Tier {
        let policies = [Quota::per_hour(100).fixed().into()];
        Tier::new(Arc::new(Setup::new(&policies, 32, 0, 7)), 1)
    }
}
