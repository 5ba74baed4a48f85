//! Keys that were denied a moment ago: the store need not be asked again at once.
//!
//! A denial is remembered for a second at most, whatever is left to wait: another process may give back what it had, and
//! then whoever asks is to know. Of a flood for one key those ask, once a second, who come before the first answer is there.
//! Where there is no store to ask, what it said last holds for as long as it said.

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::store::redis::rates::Standing;
use crate::time::LocalTime;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Denials that are still to be waited for, at most so many. Of one key the last of each of a few costs: what is too much
/// for one cost says nothing of a smaller one.
#[derive(Debug)]
pub(crate) struct DeniedKeys {
    shards: Box<[Mutex<Shard>]>,
    /// Denials a shard has room for.
    room: usize,
}

#[derive(Debug, Default)]
struct Shard {
    denials: HashMap<Key, Vec<Denied>>,
    /// How many these are.
    held: usize,
    /// Before this there is no point in looking for room again.
    full_until: LocalTime,
}

#[derive(Debug)]
struct Denied {
    cost: u32,
    decisions: Decisions,
    /// How the key stood, if that is remembered nowhere else.
    standing: Option<Standing>,
    heard: LocalTime,
    /// Neither the same cost nor a larger one can be allowed before, as far as this process need not ask.
    until: LocalTime,
    /// The same unless something is given back.
    whole: LocalTime,
}

/// A denial as it was heard.
#[derive(Debug)]
pub(crate) struct Heard<'a> {
    pub(crate) cost: u32,
    pub(crate) decisions: &'a Decisions,
    pub(crate) standing: Option<Standing>,
    /// For how long it holds; none if it always does.
    pub(crate) wait: Option<Duration>,
}

impl DeniedKeys {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            room: most.div_ceil(SHARDS),
        }
    }

    /// The denial that still holds for this cost at `now`, with what is left to wait. Under every rule what is too much
    /// is too much with more, but the wait is another one: of a denial of less, `more` is told how the key stood if that is
    /// remembered, and how long ago, and says what that means to this cost now, or that the store has to be asked.
    pub(crate) fn find(
        &self,
        key: Key,
        cost: u32,
        now: LocalTime,
        more: impl FnOnce(Option<&Standing>, Duration) -> Option<Decisions>,
    ) -> Option<Decisions> {
        let shard = self.shard(key);
        let denied = shard.holding(key, cost, |denied| now < denied.until)?;
        denied.told(cost, now, more)
    }

    /// As [`Self::find`] where no store can be asked: a denial holds for its whole wait. Where `more` cannot tell how long
    /// a larger cost has to wait, it is until everything is back.
    pub(crate) fn find_alone(
        &self,
        key: Key,
        cost: u32,
        now: LocalTime,
        more: impl FnOnce(Option<&Standing>, Duration) -> Option<Decisions>,
    ) -> Option<Decisions> {
        let shard = self.shard(key);
        let denied = shard.holding(key, cost, |denied| now < denied.whole)?;
        let longest = || denied.decisions.until_reset().aged(denied.age(now));
        Some(denied.told(cost, now, more).unwrap_or_else(longest))
    }

    /// The store was asked at `asked`, and its denial was heard at `heard`.
    pub(crate) fn note(&self, key: Key, denial: Heard<'_>, asked: LocalTime, heard: LocalTime) {
        if self.room == 0 {
            return;
        }
        // What can never be allowed is asked about again all the same, for the sake of the headers.
        let wait = denial.wait.unwrap_or(LONGEST);
        // The store decided after it was asked: what is waited for comes later still.
        let until = asked.saturating_add(wait.min(LONGEST));
        let whole = asked.saturating_add(wait);
        let denied = Denied {
            cost: denial.cost,
            decisions: denial.decisions.clone(),
            standing: denial.standing,
            heard,
            until,
            whole,
        };
        self.shard(key).put(key, denied, self.room);
    }

    /// The store has allowed `cost` units on `key`: that so many are too much is no longer so.
    pub(crate) fn refute(&self, key: Key, cost: u32) {
        self.shard(key).keep(key, |denied| denied.cost > cost);
    }

    /// Something was given back on `key`.
    pub(crate) fn forget(&self, key: Key) {
        self.shard(key).keep(key, |_| false);
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[key.halves()[0] as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// What says the most of `cost` among the denials of `key` that hold: its own, or the latest of less.
    fn holding(&self, key: Key, cost: u32, holds: impl Fn(&Denied) -> bool) -> Option<&Denied> {
        let denials = self.denials.get(&key)?.iter();
        let apply = denials.filter(|denied| denied.cost <= cost && holds(denied));
        apply.max_by_key(|denied| (denied.cost == cost, denied.heard))
    }

    fn put(&mut self, key: Key, denied: Denied, room: usize) {
        let now = denied.heard;
        // What was left then would have done for some that were denied before.
        let each = denied.decisions.each().iter();
        let left = each.map(Decision::remaining).min().unwrap_or(0);
        self.keep(key, |it| {
            it.cost > left && it.cost != denied.cost && now < it.whole
        });
        if self.held >= room {
            self.make_room(room, now);
        }
        let is_full = self.held >= room;
        match self.denials.get_mut(&key) {
            Some(denials) if is_full || denials.len() >= COSTS => {
                // The least says the most of others.
                let least = denials.iter().map(|it| it.cost).min();
                let others = denials.iter_mut().filter(|it| Some(it.cost) != least);
                if let Some(oldest) = others.min_by_key(|it| it.heard) {
                    *oldest = denied;
                } else if Some(denied.cost) < least {
                    denials[0] = denied;
                }
            }
            Some(denials) => {
                denials.push(denied);
                self.held += 1;
            }
            None if is_full => {}
            None => {
                self.denials.insert(key, vec![denied]);
                self.held += 1;
            }
        }
    }

    /// Forgets what is over, and if that is not enough, what the store is asked about again.
    fn make_room(&mut self, room: usize, now: LocalTime) {
        if now < self.full_until {
            return;
        }
        self.keep_all(|denied| now < denied.whole);
        if self.held >= room {
            self.keep_all(|denied| now < denied.until);
        }
        if self.held >= room {
            self.full_until = now.saturating_add(LOOK_AGAIN);
        }
    }

    fn keep(&mut self, key: Key, keeps: impl Fn(&Denied) -> bool) {
        let Some(denials) = self.denials.get_mut(&key) else {
            return;
        };
        let before = denials.len();
        denials.retain(keeps);
        self.held -= before - denials.len();
        if denials.is_empty() {
            self.denials.remove(&key);
        }
    }

    fn keep_all(&mut self, keeps: impl Fn(&Denied) -> bool) {
        let mut held = 0;
        self.denials.retain(|_, denials| {
            denials.retain(&keeps);
            held += denials.len();
            !denials.is_empty()
        });
        self.held = held;
    }
}

impl Denied {
    fn age(&self, now: LocalTime) -> Duration {
        now.since(self.heard)
    }

    /// What is said to `cost`, of which no less was denied: by `more` if it was less.
    fn told(
        &self,
        cost: u32,
        now: LocalTime,
        more: impl FnOnce(Option<&Standing>, Duration) -> Option<Decisions>,
    ) -> Option<Decisions> {
        if cost == self.cost {
            return Some(self.decisions.aged(self.age(now)));
        }
        more(self.standing.as_ref(), self.age(now))
    }
}

const SHARDS: usize = 16;
/// Costs of one key whose denials are remembered.
const COSTS: usize = 4;
const LONGEST: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use crate::rule::{Moment, RuleSet};

    fn at(millis: u64) -> LocalTime {
        LocalTime::from_nanos(millis * 1_000_000)
    }

    fn note(keys: &DeniedKeys, key: Key, cost: u32, asked: LocalTime, heard: LocalTime) {
        let decisions = denial();
        let denial = Heard {
            cost,
            decisions: &decisions,
            standing: None,
            wait: decisions.binding().retry_after(),
        };
        keys.note(key, denial, asked, heard);
    }

    fn find(keys: &DeniedKeys, key: Key, cost: u32, now: LocalTime) -> Option<Decisions> {
        keys.find(key, cost, now, |_, _| None)
    }

    /// Denied at 1000, allowed again 500 ms later.
    fn denial() -> Decisions {
        let rules = RuleSet::new(&[Quota::per_second(2).burst(1).into()]);
        let mut state = vec![0; rules.words()];
        let moment = Moment::at(at(1_000));
        assert!(rules.decide(&mut state, 1, moment).is_allowed());
        rules.decide_each(&mut state, 1, moment)
    }

    #[test]
    fn a_denial_holds_until_the_store_could_say_otherwise() {
        let (keys, key) = (DeniedKeys::new(100), Key::of("a"));
        note(&keys, key, 2, at(0), at(40));
        let told = find(&keys, key, 2, at(140)).expect("it holds");
        assert!(!told.is_allowed());
        assert_eq!(
            told.binding().retry_after(),
            Some(Duration::from_millis(400))
        );
        assert!(find(&keys, key, 2, at(499)).is_some());
        assert_eq!(find(&keys, key, 2, at(500)), None);
        assert_eq!(find(&keys, key, 1, at(140)), None, "a smaller cost");
        assert_eq!(find(&keys, Key::of("b"), 2, at(140)), None);
        keys.forget(key);
        assert_eq!(find(&keys, key, 2, at(140)), None);
    }

    #[test]
    fn a_larger_cost_is_told_what_it_has_to_wait_itself() {
        let (keys, key) = (DeniedKeys::new(100), Key::of("a"));
        note(&keys, key, 2, at(0), at(40));
        let longer = denial().aged(Duration::from_millis(7));
        let mut told = None;
        let more = |standing: Option<&Standing>, age| {
            told = Some((standing.is_some(), age));
            Some(longer.clone())
        };
        assert_eq!(keys.find(key, 3, at(140), more), Some(longer.clone()));
        assert_eq!(told, Some((false, Duration::from_millis(100))));
        assert_eq!(find(&keys, key, 3, at(140)), None, "the store is asked");
        let more = |_: Option<&Standing>, _| panic!("it has to be asked");
        assert_eq!(keys.find(key, 3, at(500), more), None);
    }

    #[test]
    fn no_denial_is_remembered_for_longer_than_a_second() {
        let (keys, key) = (DeniedKeys::new(100), Key::of("a"));
        let decisions = denial();
        for wait in [Some(Duration::from_secs(3_600)), None] {
            let denial = Heard {
                cost: 1,
                decisions: &decisions,
                standing: None,
                wait,
            };
            keys.note(key, denial, at(0), at(40));
            assert!(find(&keys, key, 1, at(999)).is_some());
            assert_eq!(find(&keys, key, 1, at(1_000)), None);
        }
    }

    #[test]
    fn without_a_store_a_denial_holds_for_all_of_its_wait_unless_it_was_refuted() {
        let (keys, key) = (DeniedKeys::new(100), Key::of("a"));
        let find = |cost, now| keys.find_alone(key, cost, at(now), |_, _| None);
        let note = || {
            let denial = Heard {
                cost: 2,
                decisions: &denial(),
                standing: None,
                wait: Some(Duration::from_secs(10)),
            };
            keys.note(key, denial, at(0), at(40));
        };
        note();
        assert!(find(2, 9_999).is_some_and(|told| !told.is_allowed()));
        assert_eq!(find(2, 10_000), None);
        assert_eq!(find(1, 500), None, "a smaller cost");
        let longer = find(3, 140).expect("a larger one is too much as well");
        let reset = longer.binding().reset_after();
        assert_eq!(longer.binding().retry_after(), Some(reset));
        keys.refute(key, 1);
        assert!(find(2, 140).is_some());
        keys.refute(key, 2);
        assert_eq!(find(2, 140), None);
        note();
        keys.forget(key);
        assert_eq!(find(2, 140), None);
    }

    #[test]
    fn each_of_a_few_costs_is_told_its_own_and_the_least_holds_for_all() {
        let (keys, key) = (DeniedKeys::new(100), Key::of("a"));
        for cost in [5, 2, 9] {
            note(&keys, key, cost, at(0), at(40));
        }
        let told = |cost, now| find(&keys, key, cost, at(now)).is_some();
        assert_eq!(
            [5, 2, 9, 1, 3].map(|it| told(it, 140)),
            [true, true, true, false, false]
        );
        keys.refute(key, 4);
        assert_eq!([2, 5, 9].map(|it| told(it, 140)), [false, true, true]);
        // Of more costs than are remembered the least stays, and the latest of the others.
        for cost in [2, 10, 11, 12] {
            note(&keys, key, cost, at(1), at(u64::from(cost) + 40));
        }
        assert_eq!([2, 5, 9].map(|it| told(it, 140)), [true, false, false]);
        assert_eq!([10, 11, 12].map(|it| told(it, 140)), [true; 3]);
        let alone = |cost| keys.find_alone(key, cost, at(140), |_, _| None).is_some();
        assert_eq!([1, 2, 5, 100].map(alone), [false, true, true, true]);
        keys.forget(key);
        assert_eq!([2, 10, 11, 12].map(|it| told(it, 140)), [false; 4]);
        assert!(
            keys.shards
                .iter()
                .all(|shard| shard.lock().unwrap().held == 0)
        );
    }

    #[test]
    fn what_would_fit_into_what_is_left_of_a_larger_denial_is_no_longer_denied() {
        let (keys, key) = (DeniedKeys::new(100), Key::of("a"));
        for cost in [1, 4] {
            note(&keys, key, cost, at(0), at(40));
        }
        // Meanwhile others have given back three.
        let rules = RuleSet::new(&[Quota::per_second(3).into(), Quota::per_hour(9).into()]);
        let decisions = rules.ask_each(&vec![0; rules.words()], 8, Moment::at(at(1_000)));
        assert!(!decisions.is_allowed());
        let denial = Heard {
            cost: 8,
            decisions: &decisions,
            standing: None,
            wait: Some(Duration::from_millis(500)),
        };
        keys.note(key, denial, at(50), at(60));
        let denied = [1, 4, 8].map(|cost| find(&keys, key, cost, at(140)).is_some());
        assert_eq!(denied, [false, true, true]);
    }

    #[test]
    fn costs_of_one_key_take_no_more_room_than_keys() {
        let keys = DeniedKeys::new(SHARDS);
        let key = Key::of("a");
        for cost in [7, 8, 3, 9] {
            note(&keys, key, cost, at(0), at(40));
        }
        let told = [7, 8, 3, 9].map(|cost| find(&keys, key, cost, at(140)).is_some());
        assert_eq!(told, [false, false, true, false], "the least of them");
    }

    #[test]
    fn it_keeps_no_more_than_it_has_room_for() {
        let keys = DeniedKeys::new(32);
        let count = |now| {
            let holds = |number: &u64| find(&keys, Key::of(number), 1, at(now)).is_some();
            (0..2_000_u64).filter(holds).count()
        };
        for number in 0..1_000_u64 {
            note(&keys, Key::of(&number), 1, at(0), at(0));
        }
        assert_eq!(count(1), 32);
        // What is over makes room.
        for number in 1_000..2_000_u64 {
            note(&keys, Key::of(&number), 1, at(600), at(600));
        }
        assert_eq!(count(601), 32);
    }
}
