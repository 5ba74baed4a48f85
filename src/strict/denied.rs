//! Keys that were denied a moment ago: the store need not be asked again at once.
//!
//! A denial is remembered for a second at most, whatever is left to wait: another process may give back what it had, and
//! then whoever asks is to know. Of a flood for one key those ask, once a second, who come before the first answer is there.
//! Where there is no store to ask, what it said last holds for as long as it said.

use crate::decision::Decisions;
use crate::key::Key;
use crate::store::redis::rates::Standing;
use crate::time::LocalTime;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The last denial of each key that is still to be waited for, at most so many.
#[derive(Debug)]
pub(crate) struct DeniedKeys {
    shards: Box<[Mutex<Shard>]>,
    max_keys: usize,
}

#[derive(Debug, Default)]
struct Shard {
    denials: HashMap<Key, Denied>,
    /// Before this there is no point in looking for room again.
    full_until: LocalTime,
}

#[derive(Clone, Debug)]
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
    pub(crate) fn new(max_keys: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            max_keys: max_keys.div_ceil(SHARDS),
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
        more: impl FnOnce(Option<Standing>, Duration) -> Option<Decisions>,
    ) -> Option<Decisions> {
        let denied = self.holding(key, cost, |denied| now < denied.until)?;
        let age = now.since(denied.heard);
        if cost == denied.cost {
            return Some(denied.decisions.aged(age));
        }
        more(denied.standing, age)
    }

    /// As [`Self::find`] where no store can be asked: a denial holds for its whole wait. Where `more` cannot tell how long
    /// a larger cost has to wait, it is until everything is back.
    pub(crate) fn find_alone(
        &self,
        key: Key,
        cost: u32,
        now: LocalTime,
        more: impl FnOnce(Option<Standing>, Duration) -> Option<Decisions>,
    ) -> Option<Decisions> {
        let denied = self.holding(key, cost, |denied| now < denied.whole)?;
        let age = now.since(denied.heard);
        if cost == denied.cost {
            return Some(denied.decisions.aged(age));
        }
        let longest = || denied.decisions.until_reset().aged(age);
        Some(more(denied.standing, age).unwrap_or_else(longest))
    }

    fn holding(&self, key: Key, cost: u32, holds: impl FnOnce(&Denied) -> bool) -> Option<Denied> {
        let shard = self.shard(key);
        let denied = shard.denials.get(&key)?;
        (cost >= denied.cost && holds(denied)).then(|| denied.clone())
    }

    /// The store was asked at `asked`, and its denial was heard at `heard`.
    pub(crate) fn note(&self, key: Key, denial: Heard<'_>, asked: LocalTime, heard: LocalTime) {
        if self.max_keys == 0 {
            return;
        }
        // What can never be allowed is asked about again all the same, for the sake of the headers.
        let wait = denial.wait.unwrap_or(LONGEST);
        // The store decided after it was asked: what is waited for comes later still.
        let until = asked.saturating_add(wait.min(LONGEST));
        let whole = asked.saturating_add(wait);
        let mut shard = self.shard(key);
        if shard.denials.len() >= self.max_keys && !shard.denials.contains_key(&key) {
            if heard < shard.full_until {
                return;
            }
            shard.denials.retain(|_, denied| heard < denied.whole);
            if shard.denials.len() >= self.max_keys {
                shard.denials.retain(|_, denied| heard < denied.until);
            }
            if shard.denials.len() >= self.max_keys {
                shard.full_until = heard.saturating_add(LOOK_AGAIN);
                return;
            }
        }
        let denied = Denied {
            cost: denial.cost,
            decisions: denial.decisions.clone(),
            standing: denial.standing,
            heard,
            until,
            whole,
        };
        shard.denials.insert(key, denied);
    }

    /// The store has allowed `cost` units on `key`: that so many are too much is no longer so.
    pub(crate) fn refute(&self, key: Key, cost: u32) {
        let mut shard = self.shard(key);
        if shard.denials.get(&key).is_some_and(|it| it.cost <= cost) {
            shard.denials.remove(&key);
        }
    }

    /// Something was given back on `key`.
    pub(crate) fn forget(&self, key: Key) {
        self.shard(key).denials.remove(&key);
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[key.halves()[0] as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SHARDS: usize = 16;
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
        let more = |standing: Option<Standing>, age| {
            told = Some((standing.is_some(), age));
            Some(longer.clone())
        };
        assert_eq!(keys.find(key, 3, at(140), more), Some(longer.clone()));
        assert_eq!(told, Some((false, Duration::from_millis(100))));
        assert_eq!(find(&keys, key, 3, at(140)), None, "the store is asked");
        let more = |_, _| panic!("it has to be asked");
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
