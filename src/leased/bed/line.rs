//! Who waits, who has gone, and who only hinted: one tier and one store, driven by hand.

use super::Scene;
use crate::key::Key;
use crate::leased::ledger::Ledger;
use crate::leased::message::{Ask, Told};
use crate::leased::tier::{Now, Outcome, Setup, Tier};
use crate::rule::Rule;
use crate::store::redis::rates::StoreMoment;
use crate::time::LocalTime;
use std::sync::Arc;
use std::time::Duration;

const KEY: Key = Key::EVERYONE;
const NOW: Now = Now {
    local: LocalTime::from_nanos(7_000_000_000),
    round_trip: Duration::from_millis(1),
};

struct Pair {
    tier: Tier,
    ledger: Ledger,
    rules: Vec<Rule>,
}

impl Pair {
    fn new(quota: &str) -> Self {
        let policies = Scene::new(1, quota, 0).policies;
        Self {
            tier: Tier::new(Arc::new(Setup::new(&policies, 1_000, 0, 1)), 10),
            ledger: Ledger::default(),
            rules: policies.iter().map(|policy| Rule::new(*policy)).collect(),
        }
    }

    fn ask(&mut self) -> Ask {
        self.tier.poll_ask(NOW).expect("there is something to ask")
    }

    /// Tickets, and whether they were allowed.
    fn answer(&mut self, ask: &Ask) -> Vec<(u64, bool)> {
        let at = StoreMoment::from_micros(200_000_000_000_000);
        let told = self.ledger.exchange(&self.rules, ask, at);
        self.hear(ask, &told.expect("a new question"))
    }

    fn hear(&mut self, ask: &Ask, told: &Told) -> Vec<(u64, bool)> {
        let mut served: Vec<Outcome> = Vec::new();
        let tier = &mut self.tier;
        tier.handle_answer(KEY, ask.number, told, NOW, &mut served);
        let told = |it: &Outcome| (it.ticket, it.decisions.is_allowed());
        served.iter().map(told).collect()
    }

    fn held(&self) -> u64 {
        self.tier.unreturned(NOW.local)
    }
}

#[test]
fn callers_that_have_gone_take_nobodys_place() {
    let mut pair = Pair::new("10/hour fixed");
    for ticket in 1..=11 {
        pair.tier.wait(KEY, 1, ticket, NOW);
    }
    let ask = pair.ask();
    for ticket in 1..=10 {
        pair.tier.quit(KEY, ticket, NOW);
    }
    // Behind those it was asked for.
    pair.tier.wait(KEY, 2, 12, NOW);
    assert_eq!(pair.answer(&ask), [(11, true), (12, true)]);
    assert_eq!(pair.held(), 7);
}

#[test]
fn nothing_is_asked_for_callers_that_had_gone_before() {
    let mut pair = Pair::new("10/hour fixed");
    for ticket in 1..=10 {
        pair.tier.wait(KEY, 1, ticket, NOW);
        pair.tier.quit(KEY, ticket, NOW);
    }
    pair.tier.wait(KEY, 2, 11, NOW);
    let ask = pair.ask();
    assert_eq!((ask.need, ask.least), (2, 2));
}

#[test]
fn hints_take_what_one_of_them_needs_however_many_there_are() {
    for quota in ["1000/hour fixed", "1000/hour sliding", "1000/hour"] {
        let mut pair = Pair::new(quota);
        for _ in 0..20 {
            for cost in [3, 5, 1] {
                for _ in 0..50 {
                    pair.tier.hint(KEY, cost, NOW);
                }
            }
            if let Some(ask) = pair.tier.poll_ask(NOW) {
                assert_eq!(ask.need, 5, "{quota}");
                // Meanwhile.
                pair.tier.hint(KEY, 5, NOW);
                assert_eq!(pair.answer(&ask), [], "{quota}");
            }
            // The first unit of a full bucket begins to come back at once.
            assert!((4..=5).contains(&pair.held()), "{quota}");
        }
    }
}

#[test]
fn hints_come_after_those_who_wait_and_their_denial_is_told() {
    let mut pair = Pair::new("10/hour fixed");
    pair.tier.hint(KEY, 4, NOW);
    pair.tier.wait(KEY, 8, 1, NOW);
    let ask = pair.ask();
    assert_eq!((ask.need, ask.least), (12, 4));
    assert_eq!(pair.answer(&ask), [(1, true), (0, false)]);
    assert_eq!(pair.held(), 2);
}

#[test]
fn a_hint_without_room_for_its_key_is_forgotten() {
    let mut pair = Pair::new("10/hour fixed");
    for key in 0..10_u64 {
        pair.tier.wait(Key::of(&key), 1, key + 1, NOW);
    }
    pair.tier.hint(KEY, 1, NOW);
    assert_eq!(pair.tier.keys(), 10);
}

/// A store may grant nothing though there is room.
#[test]
fn whoever_has_to_ask_again_keeps_its_place() {
    let mut pair = Pair::new("2/hour fixed");
    pair.tier.wait(KEY, 1, 1, NOW);
    pair.tier.wait(KEY, 1, 2, NOW);
    let ask = pair.ask();
    pair.tier.wait(KEY, 1, 3, NOW);
    let careful = Told {
        now: StoreMoment::from_micros(200_000_000_000_000),
        states: vec![0; pair.rules[0].words()].into(),
        granted: [0].into(),
    };
    assert_eq!(pair.hear(&ask, &careful), []);
    let ask = pair.ask();
    assert_eq!(pair.answer(&ask), [(1, true), (2, true), (3, false)]);
}

#[test]
fn an_answer_for_those_who_were_sent_away_is_put_in_hand() {
    let mut pair = Pair::new("10/hour fixed");
    pair.tier.wait(KEY, 3, 1, NOW);
    let ask = pair.ask();
    assert_eq!(pair.tier.leave(), [1]);
    assert_eq!(pair.answer(&ask), []);
    assert_eq!(pair.held(), 3);
}

#[test]
fn what_does_not_fit_is_foreseen_while_the_store_has_said_so_lately() {
    let mut pair = Pair::new("10/hour fixed");
    assert!(pair.tier.denial(KEY, 9, NOW).is_none());
    pair.tier.wait(KEY, 6, 1, NOW);
    let ask = pair.ask();
    assert_eq!(pair.answer(&ask), [(1, true)]);
    let denied = pair.tier.denial(KEY, 5, NOW).expect("four are left");
    assert!(denied.binding().retry_after().is_some());
    assert!(pair.tier.denial(KEY, 4, NOW).is_none());
    let later = Now {
        local: NOW.local.saturating_add(Duration::from_millis(1_001)),
        ..NOW
    };
    assert!(pair.tier.denial(KEY, 5, later).is_none());
}
