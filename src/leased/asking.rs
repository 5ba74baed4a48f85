//! What a key asks the store, and when: for callers that wait, before the hand is empty, and to give back.

use crate::leased::cell::{Cell, Sent};
use crate::leased::lease::Hand;
use crate::leased::message::{Ask, AskLine};
use crate::leased::tier::{Now, Setup};
use crate::rule::{Term, ticks};
use crate::time::LocalTime;
use std::time::Duration;

impl Cell {
    /// What is to be asked now, if anything.
    pub(super) fn poll(&mut self, setup: &Setup, number: u64, now: Now) -> Option<Ask> {
        if self.sent.is_some() {
            return None;
        }
        let hint = self.take_hint(setup, now.local);
        let costs = || {
            let waiting = self.line.iter().map(|it| it.cost);
            waiting.chain((hint > 0).then_some(hint))
        };
        let need = costs().fold(0_u32, u32::saturating_add);
        let least = costs().min().unwrap_or(0);
        let mut lines = vec![AskLine::default(); self.hands.len()];
        if need > 0 {
            let spare = self.spare(setup, &now, true);
            for (line, spare) in lines.iter_mut().zip(spare.unwrap_or_default()) {
                line.spare = spare;
            }
            self.give(u32::MAX, now.local);
        } else if let Some(spare) = self.spare(setup, &now, false) {
            for (line, spare) in lines.iter_mut().zip(spare) {
                line.spare = spare;
            }
        } else if now.local >= self.idle_at(&now) {
            self.give(u32::MAX, now.local);
            self.hands.iter_mut().for_each(Hand::clear);
        } else if let Some(at) = self.over_at(&now)
            && now.local >= at
        {
            self.trimmed = true;
            let keeps = self
                .demand
                .within(now.round_trip + LEEWAY)
                .saturating_add(1);
            self.give_above(keeps, now.local);
        }
        let settles = self.unheard || !self.owing.is_nothing();
        let asks = need > 0
            || lines.iter().any(|line| line.spare > 0)
            || self.giving.iter().any(|units| *units > 0)
            || settles;
        if !asks || (need == 0 && now.local < self.rest_until) {
            return None;
        }
        for (place, line) in lines.iter_mut().enumerate() {
            (line.give, line.owe) = (self.giving[place], self.owing.units[place]);
        }
        self.sent = Some(Sent {
            number,
            at: now.local,
            waiting: self.line.len(),
            hint,
            owed: self.owing.units.clone(),
            unused: vec![0; self.hands.len()].into(),
        });
        Some(Ask {
            key: self.key,
            holder: setup.holder,
            number,
            heard: self.heard,
            need,
            least,
            lines: lines.into(),
        })
    }

    /// What is to be asked for though nobody waits for it; nothing where it is in hand meanwhile.
    fn take_hint(&mut self, setup: &Setup, now: LocalTime) -> u32 {
        if self.line.is_empty() && now < self.rest_until {
            return 0;
        }
        let hint = std::mem::take(&mut self.hint);
        let in_hand = |hand: &Hand| hand.usable(now, setup.late) >= hint;
        match self.hands.iter().all(in_hand) {
            true => 0,
            false => hint,
        }
    }

    /// Whether what is in hand will not last until the store could bring more.
    pub(super) fn runs_low(&self, setup: &Setup, now: &Now) -> bool {
        let soon = now.round_trip + LEEWAY;
        let low = self.demand.within(soon).saturating_add(1);
        let then = now.local.saturating_add(soon);
        // Spent until then, or over.
        let runs_low = |hand: &Hand| {
            hand.usable(now.local, setup.late) < low || hand.usable(then, setup.late) == 0
        };
        self.sent.is_none() && self.hands.iter().any(runs_low)
    }

    /// When there may be something to ask next.
    pub(super) fn due(&self, setup: &Setup, now: Now) -> LocalTime {
        if self.sent.is_some() {
            return LocalTime::NEVER;
        }
        if !self.line.is_empty() {
            return now.local;
        }
        let settles = self.unheard || !self.owing.is_nothing();
        let mut due = LocalTime::NEVER;
        if settles || self.hint > 0 || self.giving.iter().any(|units| *units > 0) {
            due = now.local;
        }
        if self.hands.iter().any(|hand| !hand.is_empty()) {
            due = due.min(self.idle_at(&now));
            due = self.over_at(&now).map_or(due, |at| due.min(at));
        }
        if due > now.local && self.spare(setup, &now, false).is_some() {
            due = now.local;
        }
        due.max(self.rest_until)
    }

    /// Gives back everything, for good: the last question of a key, if there is something to say.
    pub(super) fn part(&mut self, setup: &Setup, number: u64, now: LocalTime) -> Option<Ask> {
        self.give(u32::MAX, now);
        self.hands.iter_mut().for_each(Hand::clear);
        let says = self.unheard || self.giving.iter().any(|units| *units > 0);
        let line = |(give, owe): (&u32, &u64)| AskLine {
            give: *give,
            owe: *owe,
            spare: 0,
        };
        says.then(|| Ask {
            key: self.key,
            holder: setup.holder,
            number,
            heard: self.heard,
            need: 0,
            least: 0,
            lines: self
                .giving
                .iter()
                .zip(&self.owing.units)
                .map(line)
                .collect(),
        })
    }

    /// Up to `units` under each policy, as far as the store can take them back.
    fn give(&mut self, units: u32, now: LocalTime) {
        for (place, hand) in self.hands.iter_mut().enumerate() {
            let last = Some(self.last[place]).filter(|_| !self.unheard);
            self.giving[place] += hand.give(units, last, now);
        }
    }

    fn give_above(&mut self, keeps: u32, now: LocalTime) {
        for hand in 0..self.hands.len() {
            let surplus = self.hands[hand].usable(now, 0).saturating_sub(keeps);
            let last = Some(self.last[hand]).filter(|_| !self.unheard);
            self.giving[hand] += self.hands[hand].give(surplus, last, now);
        }
    }

    /// Units to ask for beyond what is waited for. None while there is enough in hand, where units come one at a time
    /// or nobody comes any more, and where the store has little left.
    fn spare(&self, setup: &Setup, now: &Now, asks: bool) -> Option<Vec<u32>> {
        let view = self.view.as_ref()?;
        let moment = view.moment(now.local);
        let horizon = horizon(now.round_trip);
        let idle = now.local >= self.used_at.saturating_add(idle_after(now));
        let rests = now.local < self.rest_until.max(self.sparse_until);
        if idle || rests || self.demand.within(horizon) < 2 {
            return None;
        }
        let plenty = setup.rules.ask(&view.states, 0, moment).remaining() >= PLENTY;
        if !plenty || !(asks || self.runs_low(setup, now)) {
            return None;
        }
        let terms = setup.terms(&view.states, moment);
        let mut spare = Vec::with_capacity(self.hands.len());
        for (hand, term) in self.hands.iter().zip(terms) {
            let wanted = match term {
                Term::Window(left) => self.demand.within(horizon.min(left)),
                // Units that begin to come back at once do not last.
                Term::Slots { lead, interval } => {
                    let lasts = ticks(horizon)
                        .saturating_sub(lead)
                        .div_ceil(interval.max(1));
                    let lasts = u32::try_from(lasts).unwrap_or(u32::MAX);
                    self.demand.within(horizon).max(lasts)
                }
            };
            let held = if asks {
                0
            } else {
                hand.usable(now.local, setup.late)
            };
            spare.push(wanted.min(setup.max_batch).saturating_sub(held));
        }
        spare.iter().any(|units| *units > 0).then_some(spare)
    }

    fn idle_at(&self, now: &Now) -> LocalTime {
        if self.hands.iter().all(Hand::is_empty) {
            return LocalTime::NEVER;
        }
        self.used_at.saturating_add(idle_after(now))
    }

    /// When what will not be spent in its window goes back.
    fn over_at(&self, now: &Now) -> Option<LocalTime> {
        if self.trimmed {
            return None;
        }
        let ends = self.hands.iter().filter_map(Hand::window_ends).min()?;
        Some(ends.saturating_sub(now.round_trip + LEEWAY))
    }
}

/// For how long there should be enough in hand.
fn horizon(round_trip: Duration) -> Duration {
    (2 * round_trip + Duration::from_millis(50)).min(Duration::from_secs(1))
}

fn idle_after(now: &Now) -> Duration {
    IDLE.max(2 * horizon(now.round_trip))
}

/// For what takes longer than a round trip.
pub(super) const LEEWAY: Duration = Duration::from_millis(5);
/// Nobody came for so long: what is in hand goes back.
const IDLE: Duration = Duration::from_millis(250);
/// Before what failed is told again.
pub(super) const RETRY: Duration = Duration::from_millis(300);
/// Of less, everybody takes what it needs and no more.
const PLENTY: u32 = 8;
