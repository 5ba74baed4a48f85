//! One key in this process: what is in hand, who waits, and what the store is to be asked.
//!
//! ```text
//!            spend, or wait                        answer: hand, or denied
//!   callers ----------------> hand, line <---------------------------------+
//!                                | callers wait, the hand runs low, or     |
//!                                | nobody comes, or its time is over soon  |
//!                                v                                         |
//!                            question under way -----------> store --------+
//! ```
//!
//! One question at a time. Callers that find enough in hand never wait; all others share the next question. A question
//! for callers that wait brings back what can be given back, so that the store decides on what nobody has in hand.

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::leased::asking::{LEEWAY, RETRY};
use crate::leased::demand::Demand;
use crate::leased::lease::{Hand, Lease};
use crate::leased::message::{Ask, Told};
use crate::leased::owing::Owing;
use crate::leased::tier::{Outcome, Setup};
use crate::rule::{Moment, Rule};
use crate::store::redis::rates::StoreMoment;
use crate::time::LocalTime;
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) key: Key,
    /// Under each policy, as all that follows.
    pub(super) hands: Box<[Hand]>,
    /// Told and not heard of yet.
    pub(super) giving: Box<[u32]>,
    /// Spent without asking.
    pub(super) owing: Owing,
    /// The question that brought what is at the end of a bucket.
    pub(super) last: Box<[u64]>,
    pub(super) heard: u64,
    /// Since then something was asked whose answer was not heard.
    pub(super) unheard: bool,
    pub(super) sent: Option<Sent>,
    /// Callers that wait, by ticket.
    pub(super) line: VecDeque<Waiter>,
    /// The most that anybody would have had use for who did not wait, since the last question; 0 for nobody.
    pub(super) hint: u32,
    pub(super) demand: Demand,
    pub(super) view: Option<View>,
    pub(super) used_at: LocalTime,
    /// After a failure: not before this is asked again what nobody waits for.
    pub(super) rest_until: LocalTime,
    /// The store had nothing: not before this is more asked for than what is waited for.
    pub(super) sparse_until: LocalTime,
    /// What is over soon has been looked at.
    pub(super) trimmed: bool,
    /// Since it was looked at for somebody to go.
    pub(super) in_use: bool,
    /// When it is looked at next.
    pub(super) queued: LocalTime,
}

#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) at: LocalTime,
    /// So many of those who wait were there already.
    pub(super) waiting: usize,
    /// Asked for besides, for nobody in particular.
    pub(super) hint: u32,
    pub(super) owed: Box<[u64]>,
    /// Of that turned out not to have been used.
    pub(super) unused: Box<[u64]>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    ticket: u64,
    pub(super) cost: u32,
}

/// What the store said last, with what was granted then.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) states: Box<[u64]>,
    store: StoreMoment,
    at: LocalTime,
}

impl View {
    /// About where the store's clock is now. For what is told to clients and for guesses: nothing is spent by it.
    pub(super) fn moment(&self, now: LocalTime) -> Moment {
        let micros = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        StoreMoment::from_micros(self.store.as_micros().saturating_add(micros)).moment(0)
    }
}

impl Cell {
    /// No answer before `heard` is waited for.
    pub(super) fn new(key: Key, policies: usize, heard: u64, now: LocalTime) -> Self {
        Self {
            key,
            hands: vec![Hand::default(); policies].into(),
            giving: vec![0; policies].into(),
            owing: Owing::nothing(policies),
            last: vec![0; policies].into(),
            heard,
            unheard: false,
            sent: None,
            line: VecDeque::new(),
            hint: 0,
            demand: Demand::new(now),
            view: None,
            used_at: now,
            rest_until: LocalTime::ZERO,
            sparse_until: LocalTime::ZERO,
            trimmed: false,
            in_use: true,
            queued: LocalTime::NEVER,
        }
    }

    /// Goes on where the key was when it was forgotten: the store has not confirmed what it said then.
    pub(super) fn resume(&mut self, parting: &Ask) {
        (self.heard, self.unheard) = (parting.heard, true);
        self.owing.resume();
        for (giving, line) in self.giving.iter_mut().zip(&parting.lines) {
            *giving = line.give;
        }
    }

    /// Spends `cost` units under every policy, if they are in hand.
    pub(super) fn spend(
        &mut self,
        setup: &Setup,
        cost: u32,
        now: LocalTime,
        drawn: Option<&mut Vec<Lease>>,
    ) -> Option<Decisions> {
        let enough = |hand: &Hand| hand.usable(now, setup.late) >= cost;
        if !self.hands.iter().all(enough) {
            return None;
        }
        let draw = |hand: &mut Hand| {
            hand.trim(now, setup.late);
            hand.draw(cost)
        };
        match drawn {
            Some(drawn) => drawn.extend(self.hands.iter_mut().map(draw)),
            None => self.hands.iter_mut().for_each(|hand| {
                let spent = draw(hand);
                hand.note_spent(spent, now);
            }),
        }
        self.demand.note(cost, now);
        (self.used_at, self.in_use) = (now, true);
        Some(self.standing(setup, now))
    }

    /// How things stand as far as is known here: what was left at the store, and what is in hand.
    pub(super) fn standing(&self, setup: &Setup, now: LocalTime) -> Decisions {
        let Some(view) = &self.view else {
            return setup.untouched(now);
        };
        let at = view.moment(now);
        let told = |(rule, states): (&Rule, &[u64]), hand: &Hand| {
            let mut told = rule.ask(states, 0, at);
            let in_hand = hand.usable(now, setup.late);
            told.remaining = told.remaining.saturating_add(in_hand).min(told.limit);
            told
        };
        if let [rule] = &*setup.each {
            return told((rule, &view.states), &self.hands[0]).into();
        }
        let each = setup.each(&view.states).zip(&self.hands);
        Decisions::of(each.map(|(rule, hand)| told(rule, hand)).collect())
    }

    /// A caller waits for the next answer that is asked for from here on.
    pub(super) fn wait(&mut self, ticket: u64, cost: u32, now: LocalTime) {
        self.demand.note(cost, now);
        (self.used_at, self.in_use) = (now, true);
        self.line.push_back(Waiter { ticket, cost });
    }

    /// A caller does not wait any more: nothing more is asked for it, and what was is there for others.
    pub(super) fn quit(&mut self, ticket: u64) {
        let Ok(place) = self.line.binary_search_by_key(&ticket, |it| it.ticket) else {
            return;
        };
        self.line.remove(place);
        if let Some(sent) = &mut self.sent
            && place < sent.waiting
        {
            sent.waiting -= 1;
        }
    }

    /// Somebody who does not wait would have had use for `cost` units. However many there are of them, they are asked for
    /// once.
    pub(super) fn hint(&mut self, cost: u32, now: LocalTime) {
        if self.hint == 0 {
            self.demand.note(cost, now);
        }
        (self.used_at, self.in_use) = (now, true);
        self.hint = self.hint.max(cost);
    }

    /// The denial of `cost` units by what the store said lately, if they do not fit then.
    pub(super) fn denial(&self, setup: &Setup, cost: u32, now: LocalTime) -> Option<Decisions> {
        let lately = |view: &&View| now.since(view.at) <= LATELY;
        let view = self.view.as_ref().filter(lately)?;
        let at = view.moment(now);
        let ask = |cost: u32| {
            let each = setup.each(&view.states).zip(&self.hands);
            each.map(move |((rule, states), hand)| {
                let missing = cost.saturating_sub(hand.usable(now, setup.late));
                rule.ask(states, missing, at)
            })
        };
        let mut told: Vec<Decision> = ask(cost).collect();
        if told.iter().all(Decision::is_allowed) {
            return None;
        }
        for (told, standing) in told.iter_mut().zip(ask(0)) {
            if told.is_allowed() {
                *told = standing;
            }
        }
        Some(Decisions::of(told))
    }

    /// What was drawn and not spent after all.
    pub(super) fn put_back(&mut self, drawn: &[Lease]) {
        for (hand, lease) in self.hands.iter_mut().zip(drawn) {
            hand.add(*lease);
        }
    }

    /// What was drawn, and is known to be spent only now.
    pub(super) fn note_spent(&mut self, drawn: &[Lease], now: LocalTime) {
        for (hand, lease) in self.hands.iter_mut().zip(drawn) {
            hand.note_spent(*lease, now);
        }
    }

    /// Puts up to `units` in hand that were spent last. Answers how many there were.
    pub(super) fn refund(&mut self, units: u32, now: LocalTime) -> u32 {
        let back = self.hands.iter_mut().map(|hand| hand.take_back(units, now));
        back.max().unwrap_or(0)
    }

    /// The store's answer to question `number`. Those who waited for it are served first, as of the moment at which the
    /// store decided.
    pub(super) fn handle_answer(
        &mut self,
        setup: &Setup,
        number: u64,
        told: &Told,
        now: LocalTime,
        served: &mut Vec<Outcome>,
    ) -> usize {
        let Some(sent) = self.sent.take_if(|sent| sent.number == number) else {
            return 0;
        };
        (self.heard, self.unheard) = (number, false);
        self.giving.fill(0);
        self.handle_counted(setup, number, &sent, told, now);
        let at = told.now.moment(0);
        let mut leases = setup.leases(told, sent.at, number);
        let mut states = told.states.clone();
        let waited: Vec<Waiter> = self.line.drain(..sent.waiting).collect();
        let mut again = Vec::new();
        for waiter in waited {
            let decisions = setup.rules.ask_each(&states, waiter.cost, at);
            let enough = leases.iter().all(|lease| lease.units >= waiter.cost);
            if decisions.is_allowed() && !enough {
                // The store has been careful: it is asked again.
                again.push(waiter);
                continue;
            }
            let drawn = if decisions.is_allowed() {
                setup.rules.book(&mut states, waiter.cost, at);
                leases
                    .iter_mut()
                    .map(|lease| lease.split(waiter.cost))
                    .collect()
            } else {
                Vec::new()
            };
            served.push(Outcome {
                ticket: waiter.ticket,
                key: self.key,
                cost: waiter.cost,
                decisions,
                drawn,
            });
        }
        // In front of those who came later.
        for waiter in again.into_iter().rev() {
            self.line.push_front(waiter);
        }
        if sent.hint > 0 {
            let decisions = setup.rules.ask_each(&states, sent.hint, at);
            if !decisions.is_allowed() {
                // Nobody waits for it; but it is remembered.
                served.push(Outcome {
                    ticket: NOBODY,
                    key: self.key,
                    cost: sent.hint,
                    decisions,
                    drawn: Vec::new(),
                });
            }
        }
        let decided = served.len();
        let mut states = told.states.clone();
        setup.book(&mut states, &told.granted, at);
        self.view = Some(View {
            states,
            store: told.now,
            at: now,
        });
        for (place, lease) in leases.into_iter().enumerate() {
            if told.granted[place] > 0 {
                self.last[place] = number;
                self.trimmed = false;
            }
            self.hands[place].add(lease);
        }
        if told.granted.iter().all(|units| *units == 0) {
            self.sparse_until = now.saturating_add(LEEWAY);
        }
        self.serve(setup, now, served);
        decided
    }

    /// The question was not answered, or nobody knows what was: whoever waits is told so.
    pub(super) fn handle_failure(&mut self, number: u64, now: LocalTime) -> Vec<u64> {
        let Some(sent) = self.sent.take_if(|sent| sent.number == number) else {
            return Vec::new();
        };
        self.handle_uncounted(&sent);
        self.unheard = true;
        self.rest_until = now.saturating_add(RETRY);
        self.leave()
    }

    /// Those who came after the question was asked, and find something all the same.
    fn serve(&mut self, setup: &Setup, now: LocalTime, served: &mut Vec<Outcome>) {
        let mut waiting = std::mem::take(&mut self.line);
        while let Some(waiter) = waiting.front().copied() {
            let mut drawn = Vec::new();
            let Some(decisions) = self.spend(setup, waiter.cost, now, Some(&mut drawn)) else {
                break;
            };
            waiting.pop_front();
            served.push(Outcome {
                ticket: waiter.ticket,
                key: self.key,
                cost: waiter.cost,
                decisions,
                drawn,
            });
        }
        self.line = waiting;
    }

    /// Nobody waits, nothing is under way or owed: forgetting it loses its rate, and what is in hand goes back.
    pub(super) fn can_go(&self) -> bool {
        self.sent.is_none() && self.line.is_empty() && self.owing.is_nothing()
    }

    /// Whoever waits is to be told that nobody answers any more.
    pub(super) fn leave(&mut self) -> Vec<u64> {
        self.hint = 0;
        if let Some(sent) = &mut self.sent {
            // Its answer comes for nobody.
            sent.waiting = 0;
        }
        self.line.drain(..).map(|waiter| waiter.ticket).collect()
    }

    /// All units that are in hand or on their way back.
    pub(super) fn unreturned(&self, now: LocalTime) -> u64 {
        let hand = |hand: &Hand| hand.usable(now, 0);
        let hands = self.hands.iter().map(hand).max().unwrap_or(0);
        u64::from(hands) + u64::from(self.giving.iter().copied().max().unwrap_or(0))
    }
}

/// The ticket of an outcome that nobody waits for.
const NOBODY: u64 = 0;
/// What the store said longer ago denies nothing: others give back what they had in hand.
const LATELY: Duration = Duration::from_secs(1);
