//! The machine: all keys of a process, or of a shard of it, and the questions that they have.

use crate::decision::{Decisions, Policy};
use crate::key::Key;
use crate::leased::cell::Cell;
use crate::leased::lease::Lease;
use crate::leased::message::{Ask, Told};
use crate::leased::owing::Owing;
use crate::leased::parting::Parting;
use crate::rule::{Moment, Rule, RuleSet, Term};
use crate::time::LocalTime;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// What all tiers of a limiter have in common.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) rules: RuleSet,
    /// The same one by one.
    pub(super) each: Box<[Rule]>,
    /// The most units to have in hand, beyond those that are waited for.
    pub(super) max_batch: u32,
    /// The most units to spend in a bucket when their time is over.
    pub(super) late: u32,
    /// Under which name the store keeps what this process asked.
    pub(super) holder: u64,
}

/// What a tier is told of the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) local: LocalTime,
    /// To the store and back.
    pub(super) round_trip: Duration,
}

/// What became of a caller that waited.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) ticket: u64,
    pub(super) key: Key,
    pub(super) cost: u32,
    pub(super) decisions: Decisions,
    /// Of each policy, if it was allowed.
    pub(super) drawn: Vec<Lease>,
}

#[derive(Debug)]
pub(super) struct Tier {
    setup: Arc<Setup>,
    room: usize,
    places: HashMap<Key, usize>,
    cells: Vec<Option<Cell>>,
    vacant: Vec<usize>,
    /// Where somebody to go is looked for next.
    pointer: usize,
    due: BinaryHeap<Reverse<(LocalTime, usize)>>,
    /// What keys have to say that were forgotten.
    parting: Parting,
    number: u64,
    closing: bool,
    evicted: u64,
}

impl Setup {
    pub(super) fn new(policies: &[Policy], max_batch: u32, late: u32, holder: u64) -> Self {
        Self {
            rules: RuleSet::new(policies),
            each: policies.iter().map(|policy| Rule::new(*policy)).collect(),
            max_batch,
            late,
            holder,
        }
    }

    /// How a key stands of which nothing is known.
    pub(super) fn untouched(&self, now: LocalTime) -> Decisions {
        self.rules
            .ask_each(&vec![0; self.rules.words()], 0, Moment::at(now))
    }

    /// The rules, each with its part of `states`.
    pub(super) fn each<'a>(
        &'a self,
        mut states: &'a [u64],
    ) -> impl Iterator<Item = (&'a Rule, &'a [u64])> {
        self.each.iter().map(move |rule| {
            let (own, rest) = states.split_at(rule.words());
            states = rest;
            (rule, own)
        })
    }

    /// Books a number of units under each rule.
    pub(super) fn book(&self, mut states: &mut [u64], units: &[u32], at: Moment) {
        for (rule, units) in self.each.iter().zip(units) {
            let (own, rest) = states.split_at_mut(rule.words());
            rule.book(own, *units, at);
            states = rest;
        }
    }

    /// For how long units keep that are booked on `states`.
    pub(super) fn terms<'a>(
        &'a self,
        states: &'a [u64],
        at: Moment,
    ) -> impl Iterator<Item = Term> + 'a {
        self.each(states).map(move |(rule, state)| {
            rule.term(state, at)
                .expect("rules under which nothing keeps are refused")
        })
    }

    /// What the store has granted to a question that was asked at `sent`.
    pub(super) fn leases(&self, told: &Told, sent: LocalTime, number: u64) -> Vec<Lease> {
        let terms = self.terms(&told.states, told.now.moment(0));
        terms
            .zip(&told.granted)
            .map(|(term, units)| Lease::new(*units, term, sent, number))
            .collect()
    }
}

impl Tier {
    pub(super) fn new(setup: Arc<Setup>, room: usize) -> Self {
        Self {
            setup,
            room,
            places: HashMap::new(),
            cells: Vec::new(),
            vacant: Vec::new(),
            pointer: 0,
            due: BinaryHeap::new(),
            parting: Parting::new(room),
            number: 0,
            closing: false,
            evicted: 0,
        }
    }

    /// Spends `cost` units of what is in hand, if there are so many. What was drawn is added to `drawn`.
    #[inline]
    pub(super) fn spend(
        &mut self,
        key: Key,
        cost: u32,
        now: Now,
        drawn: Option<&mut Vec<Lease>>,
    ) -> Option<Decisions> {
        let place = *self.places.get(&key)?;
        let cell = self.cells[place].as_mut().expect(PLACES);
        let decisions = cell.spend(&self.setup, cost, now.local, drawn)?;
        if cell.queued == LocalTime::NEVER || cell.runs_low(&self.setup, &now) {
            self.schedule(place, now);
        }
        Some(decisions)
    }

    /// Lets a caller wait for the store.
    pub(super) fn wait(&mut self, key: Key, cost: u32, ticket: u64, now: Now) {
        let place = self.place(key, now);
        self.cell(place).wait(ticket, cost, now.local);
        self.schedule(place, now);
    }

    /// A caller does not wait any more.
    pub(super) fn quit(&mut self, key: Key, ticket: u64, now: Now) {
        if let Some(place) = self.places.get(&key).copied() {
            self.cell(place).quit(ticket);
            self.settle(place, now);
        }
    }

    /// Somebody would have had use for `cost` units, and did not wait. Forgotten where there is no room for the key.
    pub(super) fn hint(&mut self, key: Key, cost: u32, now: Now) {
        if !self.knows(key) && !self.make_room(now) {
            return;
        }
        let place = self.place(key, now);
        self.cell(place).hint(cost, now.local);
        self.schedule(place, now);
    }

    /// The denial of `cost` units as far as it is known here and has been lately, if they do not fit.
    pub(super) fn denial(&self, key: Key, cost: u32, now: Now) -> Option<Decisions> {
        let place = self.places.get(&key)?;
        let cell = self.cells[*place].as_ref().expect(PLACES);
        cell.denial(&self.setup, cost, now.local)
    }

    /// How `key` stands as far as it is known here.
    pub(super) fn peek(&self, key: Key, now: Now) -> Decisions {
        match self.places.get(&key) {
            Some(place) => {
                let cell = self.cells[*place].as_ref().expect(PLACES);
                cell.standing(&self.setup, now.local)
            }
            None => self.setup.untouched(now.local),
        }
    }

    /// Units that were spent on `key` without asking, under each policy.
    pub(super) fn owe(&mut self, key: Key, units: &[u64], now: Now) {
        let place = self.place(key, now);
        let setup = Arc::clone(&self.setup);
        self.cell(place).owe(&setup, units, now.local);
        self.schedule(place, now);
    }

    /// Up to `units` that were spent on `key` without asking were not used. Answers how many go back: those that are not
    /// known here any more stay booked.
    pub(super) fn disown(&mut self, key: Key, units: u32, now: Now) -> u32 {
        let Some(place) = self.places.get(&key).copied() else {
            return 0;
        };
        let back = self.cell(place).disown(units, now.local);
        self.settle(place, now);
        back
    }

    /// What was drawn and is not used. Of a key that was forgotten meanwhile it stays booked.
    pub(super) fn put_back(&mut self, key: Key, drawn: &[Lease], now: Now) {
        if let Some(place) = self.places.get(&key).copied() {
            self.cell(place).put_back(drawn);
            self.schedule(place, now);
        }
    }

    /// What was drawn is spent.
    pub(super) fn note_spent(&mut self, key: Key, drawn: &[Lease], now: Now) {
        if let Some(place) = self.places.get(&key).copied() {
            self.cell(place).note_spent(drawn, now.local);
        }
    }

    /// Puts up to `units` in hand that were spent last on `key`, and keep. Answers how many there were.
    pub(super) fn refund(&mut self, key: Key, units: u32, now: Now) -> u32 {
        let Some(place) = self.places.get(&key).copied() else {
            return 0;
        };
        let back = self.cell(place).refund(units, now.local);
        self.schedule(place, now);
        back
    }

    /// The next question.
    pub(super) fn poll_ask(&mut self, now: Now) -> Option<Ask> {
        if let Some(ask) = self.parting.poll(now.local) {
            return Some(ask);
        }
        loop {
            let Reverse((at, place)) = *self.due.peek()?;
            if at > now.local {
                return None;
            }
            self.due.pop();
            let Some(cell) = self.cells[place].as_mut().filter(|cell| cell.queued == at) else {
                continue;
            };
            cell.queued = LocalTime::NEVER;
            let asked = cell.poll(&self.setup, self.number + 1, now);
            if asked.is_some() {
                self.number += 1;
                return asked;
            }
            // Not at once again, whatever it says.
            self.schedule_after(place, now, TICK);
        }
    }

    /// When there may be something to ask.
    pub(super) fn poll_timeout(&self) -> LocalTime {
        let due = self.due.peek().map_or(LocalTime::NEVER, |it| it.0.0);
        due.min(self.parting.poll_timeout())
    }

    /// The answer to a question. What became of those who waited is added to `served`; answers how many of them, the
    /// first ones, the store has decided on, as of its moment.
    pub(super) fn handle_answer(
        &mut self,
        key: Key,
        number: u64,
        told: &Told,
        now: Now,
        served: &mut Vec<Outcome>,
    ) -> usize {
        let Some(place) = self.places.get(&key).copied() else {
            self.parting.handle_answer(key, number);
            return 0;
        };
        let cell = self.cells[place].as_mut().expect(PLACES);
        let decided = cell.handle_answer(&self.setup, number, told, now.local, served);
        self.settle(place, now);
        decided
    }

    /// A question was not answered. Answers who waited for it.
    pub(super) fn handle_failure(&mut self, key: Key, number: u64, now: Now) -> Vec<u64> {
        let Some(place) = self.places.get(&key).copied() else {
            self.parting.handle_failure(key, number, now.local);
            return Vec::new();
        };
        let cell = self.cells[place].as_mut().expect(PLACES);
        let left = cell.handle_failure(number, now.local);
        self.settle(place, now);
        left
    }

    /// Gives everything back and asks for nothing more. Answers those who wait.
    pub(super) fn close(&mut self, now: Now) -> Vec<u64> {
        self.closing = true;
        self.parting.close();
        // Those that stay have something to say, or wait for an answer.
        self.due.clear();
        let mut left = Vec::new();
        for place in 0..self.cells.len() {
            let Some(cell) = &mut self.cells[place] else {
                continue;
            };
            left.extend(cell.leave());
            cell.queued = LocalTime::NEVER;
            if cell.can_go() {
                self.forget(place, now);
            } else {
                self.schedule(place, now);
            }
        }
        left
    }

    /// Units that were spent without asking and are not known to be counted, under each policy, of all keys: for good.
    pub(super) fn take_owed(&mut self) -> Vec<(Key, Box<[u64]>)> {
        let cells = self.cells.iter_mut().flatten();
        let owing = cells.filter(|cell| !cell.owing.is_nothing());
        let take = |cell: &mut Cell| {
            cell.handle_given_up();
            let nothing = Owing::nothing(cell.hands.len());
            (cell.key, std::mem::replace(&mut cell.owing, nothing).units)
        };
        let taken = owing.map(take);
        let is_something = |(_, units): &(Key, Box<[u64]>)| units.iter().any(|units| *units > 0);
        taken.filter(is_something).collect()
    }

    /// Answers those who wait, for nobody will.
    pub(super) fn leave(&mut self) -> Vec<u64> {
        self.cells
            .iter_mut()
            .flatten()
            .flat_map(Cell::leave)
            .collect()
    }

    pub(super) fn knows(&self, key: Key) -> bool {
        self.places.contains_key(&key)
    }

    pub(super) fn keys(&self) -> usize {
        self.places.len()
    }

    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Units in hand, or on their way back.
    pub(super) fn unreturned(&self, now: LocalTime) -> u64 {
        let cells = self.cells.iter().flatten();
        cells.map(|cell| cell.unreturned(now)).sum::<u64>() + self.parting.unreturned()
    }

    /// The place of a key, which is made if there is none. More than `room` are there only while all of them are waited
    /// for.
    fn place(&mut self, key: Key, now: Now) -> usize {
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        self.make_room(now);
        // Whatever was asked before about this key, nobody waits for the answer.
        let mut cell = Cell::new(key, self.setup.each.len(), self.number, now.local);
        if let Some(ask) = self.parting.take(key) {
            cell.resume(&ask);
        }
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.cells.push(None);
            self.cells.len() - 1
        });
        self.cells[place] = Some(cell);
        self.places.insert(key, place);
        place
    }

    /// Whether there is room for one more key, of which another may have been forgotten.
    fn make_room(&mut self, now: Now) -> bool {
        if self.places.len() < self.room {
            return true;
        }
        let Some(place) = self.somebody_to_go() else {
            return false;
        };
        self.evicted += 1;
        self.forget(place, now);
        self.places.len() < self.room
    }

    /// One that nobody has used since it was looked at last; of the next few.
    fn somebody_to_go(&mut self) -> Option<usize> {
        let mut found = None;
        for _ in 0..LOOKS {
            self.pointer = (self.pointer + 1) % self.cells.len().max(1);
            let Some(cell) = self.cells.get_mut(self.pointer)?.as_mut() else {
                continue;
            };
            if !cell.can_go() {
                continue;
            }
            if !std::mem::take(&mut cell.in_use) {
                return Some(self.pointer);
            }
            found = found.or(Some(self.pointer));
        }
        found
    }

    fn forget(&mut self, place: usize, now: Now) {
        let mut cell = self.cells[place].take().expect(PLACES);
        self.places.remove(&cell.key);
        self.vacant.push(place);
        self.number += 1;
        let parting = cell.part(&self.setup, self.number, now.local);
        if let Some(ask) = parting {
            self.parting.push(ask);
        }
    }

    /// After an answer, or none.
    fn settle(&mut self, place: usize, now: Now) {
        let cell = self.cells[place].as_ref().expect(PLACES);
        let above = self.places.len() > self.room || self.closing;
        if above && cell.can_go() {
            self.forget(place, now);
        } else {
            self.schedule(place, now);
        }
    }

    fn schedule(&mut self, place: usize, now: Now) {
        self.schedule_after(place, now, Duration::ZERO);
    }

    fn schedule_after(&mut self, place: usize, now: Now, pause: Duration) {
        let cell = self.cells[place].as_mut().expect(PLACES);
        let due = cell.due(&self.setup, now);
        if due == LocalTime::NEVER {
            return;
        }
        let due = due.max(now.local.saturating_add(pause));
        if due < cell.queued {
            cell.queued = due;
            self.due.push(Reverse((due, place)));
        }
    }

    fn cell(&mut self, place: usize) -> &mut Cell {
        self.cells[place].as_mut().expect(PLACES)
    }
}

const PLACES: &str = "every place that has a key has a cell";
/// Cells that are looked at for one to go.
const LOOKS: usize = 8;
const TICK: Duration = Duration::from_millis(1);
