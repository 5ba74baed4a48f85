//! What a store does with a question about a key: the functions that its script spells once more.

use crate::leased::message::{Ask, Told};
use crate::rule::{Moment, Refund, Rule};
use crate::store::redis::rates::StoreMoment;
use std::collections::BTreeMap;

/// One key, as a store keeps it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// The words of each rule; empty before the first question.
    states: Vec<Vec<u64>>,
    holders: BTreeMap<u64, Record>,
}

/// The last question of a holder.
#[derive(Clone, Debug)]
struct Record {
    number: u64,
    lines: Vec<Line>,
}

/// Under one rule.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    granted: u32,
    /// As told.
    gave: u32,
    owed: u64,
    /// What may still come back, of what was booked where `mark` says.
    held: u32,
    mark: u64,
}

impl Ledger {
    /// Answers a question, if it is not an old one.
    pub(crate) fn exchange(&mut self, rules: &[Rule], ask: &Ask, now: StoreMoment) -> Option<Told> {
        let at = now.moment(0);
        let record = self.holders.get(&ask.holder);
        if record.is_some_and(|record| ask.number <= record.number) {
            return None;
        }
        let unheard = record.is_some_and(|record| record.number > ask.heard);
        let mut lines =
            record.map_or_else(|| vec![Line::default(); rules.len()], |it| it.lines.clone());
        if self.states.is_empty() {
            self.states = rules.iter().map(|rule| vec![0; rule.words()]).collect();
        }
        for (place, rule) in rules.iter().enumerate() {
            let (line, asked, state) =
                (&mut lines[place], ask.lines[place], &mut self.states[place]);
            let (mut give, mut owe) = (asked.give, asked.owe);
            if unheard {
                line.take_back(rule, state, line.granted, at);
                give = match rule {
                    // Where they were is not at the end any more.
                    Rule::Gcra(_) => 0,
                    _ => give.saturating_sub(line.gave),
                };
                // What was owed then, and turned out not to be.
                let surplus = u32::try_from(line.owed.saturating_sub(owe)).unwrap_or(u32::MAX);
                line.take_back(rule, state, surplus, at);
                owe = owe.saturating_sub(line.owed);
            }
            line.take_back(rule, state, give, at);
            line.owed = owe;
            if owe > 0 {
                let owe = u32::try_from(owe).unwrap_or(u32::MAX);
                rule.book(state, owe, at);
                line.hold(rule, state, owe, false);
            }
        }
        let states = self.states.concat();
        let granted = self.grant(rules, ask, at);
        for (place, rule) in rules.iter().enumerate() {
            let (line, asked, state) =
                (&mut lines[place], ask.lines[place], &mut self.states[place]);
            if granted[place] > 0 {
                rule.book(state, granted[place], at);
                // What was owed is right before it.
                line.hold(rule, state, granted[place], line.owed > 0);
            }
            (line.granted, line.gave, line.owed) = (granted[place], asked.give, asked.owe);
        }
        let number = ask.number;
        self.holders.insert(ask.holder, Record { number, lines });
        Some(Told {
            now,
            states: states.into(),
            granted: granted.into(),
        })
    }

    /// Units that have not come back.
    pub(crate) fn outstanding(&self, rules: &[Rule], place: usize, now: StoreMoment) -> u64 {
        rules[place].outstanding(&self.states[place], now.moment(0))
    }

    /// Units that count in the window that was counted in last.
    pub(crate) fn booked(&self, place: usize) -> u64 {
        self.states[place][1]
    }

    /// What callers wait for, or as much of it as there is and helps; of what is welcome beyond, up to a quarter of the
    /// rest, so that others find something too.
    fn grant(&self, rules: &[Rule], ask: &Ask, at: Moment) -> Vec<u32> {
        let fits = |place: usize, most: u32| {
            let fits = |units| {
                rules[place]
                    .ask(&self.states[place], units, at)
                    .is_allowed()
            };
            let (mut least, mut most) = (0, most);
            while least < most {
                let middle = most - (most - least) / 2;
                if fits(middle) {
                    least = middle;
                } else {
                    most = middle - 1;
                }
            }
            least
        };
        let room: Vec<u32> = (0..rules.len())
            .map(|place| {
                fits(
                    place,
                    ask.need
                        .saturating_add(ask.lines[place].spare.saturating_mul(4)),
                )
            })
            .collect();
        let base = ask.need.min(room.iter().copied().min().unwrap_or(0));
        if ask.need > 0 && base < ask.least {
            return vec![0; rules.len()];
        }
        let spare: Vec<u32> = (0..rules.len())
            .map(|place| ask.lines[place].spare.min((room[place] - base) / 4))
            .collect();
        // Under all that lack something, or it would be of no use.
        let all = (0..rules.len()).all(|place| spare[place] > 0 || ask.lines[place].spare == 0);
        let spare = spare
            .iter()
            .map(|spare| if all && base == ask.need { *spare } else { 0 });
        spare.map(|spare| base + spare).collect()
    }
}

impl Line {
    /// So many units were booked: what was held before may still come back where it is in the same window, or `adjoins` in
    /// the bucket.
    fn hold(&mut self, rule: &Rule, state: &[u64], units: u32, adjoins: bool) {
        let mark = rule.mark(state);
        let kept = match rule {
            Rule::Gcra(_) => adjoins,
            _ => self.mark == mark,
        };
        self.held = units.saturating_add(if kept { self.held } else { 0 });
        self.mark = mark;
    }

    fn take_back(&mut self, rule: &Rule, state: &mut [u64], units: u32, at: Moment) {
        let units = units.min(self.held);
        if units == 0 {
            return;
        }
        let refund = Refund {
            units,
            booked: at.now,
            others: 0,
        };
        match rule {
            // Only from the end, so that nobody else's units change their place.
            Rule::Gcra(_) if state[0] != self.mark => {}
            Rule::Gcra(_) => {
                rule.give_back(state, refund, self.mark, at);
                self.mark = state[0];
            }
            _ => rule.give_back(state, refund, self.mark, at),
        }
        self.held -= units;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::leased::message::AskLine;
    use crate::quota::Quota;

    fn ask(holder: u64, number: u64, heard: u64, need: u32, give: u32) -> Ask {
        Ask {
            key: Key::EVERYONE,
            holder,
            number,
            heard,
            need,
            least: need,
            lines: [AskLine {
                give,
                owe: 0,
                spare: 0,
            }]
            .into(),
        }
    }

    fn rules() -> [Rule; 1] {
        [Rule::new(Quota::per_hour(100).fixed().into())]
    }

    const NOW: StoreMoment = StoreMoment::from_micros(7_000_000);

    #[test]
    fn a_ledger_that_forgot_takes_back_nothing() {
        let mut ledger = Ledger::default();
        assert!(
            ledger
                .exchange(&rules(), &ask(1, 1, 0, 50, 0), NOW)
                .is_some()
        );
        let mut ledger = Ledger::default();
        assert!(
            ledger
                .exchange(&rules(), &ask(2, 1, 0, 80, 0), NOW)
                .is_some()
        );
        assert!(
            ledger
                .exchange(&rules(), &ask(1, 2, 1, 0, 50), NOW)
                .is_some()
        );
        assert_eq!(ledger.booked(0), 80);
    }

    #[test]
    fn what_was_given_back_unheard_comes_back_once_and_what_was_granted_unheard_too() {
        let mut ledger = Ledger::default();
        let mut exchange = |ask| {
            let told = ledger.exchange(&rules(), &ask, NOW);
            (told.map(|told| told.granted[0]), ledger.booked(0))
        };
        assert_eq!(exchange(ask(1, 1, 0, 60, 0)), (Some(60), 60));
        assert_eq!(exchange(ask(1, 2, 1, 0, 20)), (Some(0), 40));
        assert_eq!(exchange(ask(1, 2, 1, 0, 20)), (None, 40));
        // Its answer was lost: told once more, with more.
        assert_eq!(exchange(ask(1, 3, 1, 30, 25)), (Some(30), 65));
        assert_eq!(exchange(ask(1, 4, 1, 0, 25)), (Some(0), 35));
        assert_eq!(exchange(ask(1, 3, 1, 30, 25)), (None, 35));
        // More than it ever had.
        assert_eq!(exchange(ask(1, 5, 4, 0, 99)), (Some(0), 0));
    }
}
