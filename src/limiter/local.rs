//! The counts of this process: one word a key under one token bucket, else as many as the rules need.

use crate::decision::{Decision, Decisions, Policy};
use crate::key::Key;
use crate::limiter::overflow::Overflown;
use crate::limiter::rules::{Answer, Rules};
use crate::limiter::shard::Handed;
use crate::limiter::table::{Table, TableStats};
use crate::quota::Kind;
use crate::rule::{Gcra, Moment, RuleSet, Tat};
use crate::time::LocalTime;
use crossbeam_utils::CachePadded;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

/// What it answers is none once the counts that were asked for have moved to another limiter.
#[derive(Debug)]
pub(super) enum Local {
    Bucket(Bucket),
    Several(Several),
}

/// One token bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    /// The cell of [`Key::EVERYONE`], or [`MOVED`].
    everyone: CachePadded<AtomicU64>,
    table: Table<Gcra>,
}

/// Any other rule, or several.
#[derive(Debug)]
pub(super) struct Several {
    /// The cell of [`Key::EVERYONE`]; empty once it has moved.
    everyone: CachePadded<Mutex<Box<[u64]>>>,
    table: Table<RuleSet>,
    /// Whether a rule asks for the wall clock.
    pub(super) needs_wall: bool,
    /// Whether a rule asks for a random number.
    pub(super) needs_random: bool,
}

impl Local {
    pub(super) fn new(policies: &[Policy], max_keys: NonZeroUsize) -> Self {
        if let [policy] = policies
            && policy.quota().kind() == Kind::TokenBucket
        {
            return Self::Bucket(Bucket {
                everyone: CachePadded::new(AtomicU64::new(0)),
                table: Table::new(Gcra::new(*policy), max_keys),
            });
        }
        let rules = RuleSet::new(policies);
        Self::Several(Several {
            everyone: CachePadded::new(Mutex::new(vec![0; rules.words()].into())),
            needs_wall: rules.needs_wall(),
            needs_random: rules.needs_random(),
            table: Table::new(rules, max_keys),
        })
    }

    pub(super) fn check(&self, key: Key, cost: u32, at: Moment) -> Option<Decision> {
        match self {
            Self::Bucket(bucket) => bucket.decide(&key, cost, at.now),
            Self::Several(several) => {
                several.step(key, at, |rules, state| rules.decide(state, cost, at))
            }
        }
    }

    pub(super) fn check_each(&self, key: Key, cost: u32, at: Moment) -> Option<Decisions> {
        match self {
            Self::Bucket(bucket) => bucket.decide(&key, cost, at.now).map(Into::into),
            Self::Several(several) => several.decide_each(key, cost, at),
        }
    }

    /// What [`Self::check`] would say, without booking anything.
    pub(super) fn ask(&self, key: Key, cost: u32, at: Moment) -> Option<Decision> {
        match self {
            Self::Bucket(bucket) if key == Key::EVERYONE => {
                let state = Tat::from_bits(bucket.everyone()?);
                Some(bucket.table.rules().decide(state, cost, at.now).0)
            }
            Self::Bucket(Bucket { table, .. }) => {
                table.look(key, |state| table.rules().ask(state, cost, at))
            }
            Self::Several(several) => several.look(key, |rules, state| rules.ask(state, cost, at)),
        }
    }

    /// How `key` stands under every policy.
    pub(super) fn ask_each(&self, key: Key, at: Moment) -> Option<Decisions> {
        match self {
            Self::Bucket(_) => self.ask(key, 0, at).map(Into::into),
            Self::Several(several) => {
                several.look(key, |rules, state| rules.ask_each(state, 0, at))
            }
        }
    }

    /// Hands over the state of [`Key::EVERYONE`], and answers nothing for it from then on.
    pub(super) fn hand_over_everyone(&self) -> Box<[u64]> {
        match self {
            Self::Bucket(bucket) => Box::new([bucket.everyone.swap(MOVED, Ordering::AcqRel)]),
            Self::Several(several) => std::mem::take(&mut *several.everyone()),
        }
    }

    /// The state of `key`; that of the overflow cell if it has none.
    #[cfg(feature = "fleet")]
    pub(super) fn state(&self, key: Key) -> Option<Box<[u64]>> {
        match self {
            Self::Bucket(bucket) if key == Key::EVERYONE => Some(Box::new([bucket.everyone()?])),
            Self::Bucket(bucket) => bucket.table.look(key, |state| state.into()),
            Self::Several(several) => several.look(key, |_, state| state.into()),
        }
    }

    /// Sets the state of [`Key::EVERYONE`].
    pub(super) fn set_everyone(&self, state: &[u64]) {
        match self {
            Self::Bucket(bucket) => bucket.everyone.store(state[0], Ordering::Release),
            Self::Several(several) => several.everyone().copy_from_slice(state),
        }
    }

    /// Words of a state.
    pub(super) fn words(&self) -> usize {
        match self {
            Self::Bucket(_) => 1,
            Self::Several(several) => several.table.rules().words(),
        }
    }

    /// Hands over what all other keys have spent: see [`Table::hand_over`].
    pub(super) fn hand_over(&self, take: impl FnMut(Handed<'_>)) {
        match self {
            Self::Bucket(bucket) => bucket.table.hand_over(take),
            Self::Several(several) => several.table.hand_over(take),
        }
    }

    /// Keys without a cell have spent at least as much as `overflow` says.
    pub(super) fn raise_overflow(&self, overflow: &[u64]) {
        match self {
            Self::Bucket(bucket) => bucket.table.raise_overflow(overflow),
            Self::Several(several) => several.table.raise_overflow(overflow),
        }
    }

    /// Gives a key that has none a cell with `state`.
    pub(super) fn put(&self, key: Key, state: &[u64], at: Moment) {
        match self {
            Self::Bucket(bucket) => bucket.table.put(key, state, at),
            Self::Several(several) => several.table.put(key, state, at),
        }
    }

    pub(super) fn stats(&self) -> TableStats {
        match self {
            Self::Bucket(bucket) => bucket.table.stats(),
            Self::Several(several) => several.table.stats(),
        }
    }
}

impl Bucket {
    #[inline]
    pub(super) fn decide(&self, key: &Key, cost: u32, now: LocalTime) -> Option<Decision> {
        if *key == Key::EVERYONE {
            self.decide_for_all(cost, now)
        } else {
            self.decide_for_key(key, cost, now)
        }
    }

    #[inline(always)]
    pub(super) fn decide_for_all(&self, cost: u32, now: LocalTime) -> Option<Decision> {
        let found = self.step_for_all(|rule, state| rule.find(state, cost, now))?;
        Some(self.table.rules().tell(found))
    }

    /// For any key but [`Key::EVERYONE`].
    #[inline(always)]
    pub(super) fn decide_for_key(&self, key: &Key, cost: u32, now: LocalTime) -> Option<Decision> {
        let found = self.step_for_key(key, Moment::at(now), move |rule, state| {
            rule.find(state, cost, now)
        })?;
        Some(self.table.rules().tell(found))
    }

    /// One step on a state that other threads change as well.
    #[inline]
    fn step_for_all<T>(&self, mut step: impl FnMut(&Gcra, Tat) -> (T, Tat)) -> Option<T> {
        let mut bits = self.everyone()?;
        loop {
            let (answer, after) = step(self.table.rules(), Tat::from_bits(bits));
            let after = after.to_bits().min(MOVED - 1);
            if after == bits {
                return Some(answer);
            }
            // Acquire and release: who sees a refund sees it counted, too.
            match self.everyone.compare_exchange_weak(
                bits,
                after,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(answer),
                Err(MOVED) => return None,
                Err(other) => bits = other,
            }
        }
    }

    /// The state of [`Key::EVERYONE`].
    #[inline]
    fn everyone(&self) -> Option<u64> {
        match self.everyone.load(Ordering::Acquire) {
            MOVED => None,
            bits => Some(bits),
        }
    }

    /// Takes a step on the state of `key`, noting where it was booked: see [`Table::step_noting`].
    pub(super) fn step_noting(
        &self,
        key: Key,
        at: Moment,
        overflown: &mut Option<Overflown>,
        mut step: impl FnMut(&Gcra, Tat) -> (Decision, Tat),
    ) -> Option<Decision> {
        if key == Key::EVERYONE {
            return self.step_for_all(step);
        }
        let rule = self.table.rules();
        self.table.step_noting(&key, at, overflown, |state| {
            let (answer, after) = step(rule, Tat::from_bits(state[0]));
            state[0] = after.to_bits();
            answer
        })
    }

    #[inline(always)]
    fn step_for_key<A: Answer>(
        &self,
        key: &Key,
        at: Moment,
        mut step: impl FnMut(&Gcra, Tat) -> (A, Tat),
    ) -> Option<A> {
        let rule = self.table.rules();
        self.table.step(key, at, |state| {
            let (answer, after) = step(rule, Tat::from_bits(state[0]));
            state[0] = after.to_bits();
            answer
        })
    }

    /// See [`Table::give_back_overflown`].
    pub(super) fn give_back_overflown(
        &self,
        key: Key,
        booking: Overflown,
        units: u32,
        own: impl FnOnce() -> u64,
        change: impl Fn(&Gcra, Tat, u64) -> Tat,
    ) {
        let change = |state: &mut [u64], others| {
            let after = change(self.table.rules(), Tat::from_bits(state[0]), others);
            state[0] = after.to_bits();
        };
        self.table
            .give_back_overflown(key, booking, units, own, change);
    }

    /// Changes the state of `key`, unless it has no cell.
    pub(super) fn change(&self, key: Key, mut change: impl FnMut(&Gcra, Tat) -> Tat) -> Option<()> {
        if key == Key::EVERYONE {
            return self.step_for_all(|rule, state| ((), change(rule, state)));
        }
        self.table.change(key, |state| {
            let after = change(self.table.rules(), Tat::from_bits(state[0]));
            state[0] = after.to_bits();
        })
    }
}

impl Several {
    fn decide_each(&self, key: Key, cost: u32, at: Moment) -> Option<Decisions> {
        let mut told = None;
        let binding = self.step(key, at, |rules, state| {
            let decisions = rules.decide_each(state, cost, at);
            *told.insert(decisions).binding()
        })?;
        Some(told.unwrap_or_else(|| binding.into()))
    }

    /// Takes a step on the state of `key`: see [`Table::step`].
    pub(super) fn step(
        &self,
        key: Key,
        at: Moment,
        step: impl FnMut(&RuleSet, &mut [u64]) -> Decision,
    ) -> Option<Decision> {
        self.step_noting(key, at, &mut None, step)
    }

    /// The same, noting where it was booked: see [`Table::step_noting`].
    pub(super) fn step_noting(
        &self,
        key: Key,
        at: Moment,
        overflown: &mut Option<Overflown>,
        mut step: impl FnMut(&RuleSet, &mut [u64]) -> Decision,
    ) -> Option<Decision> {
        let rules = self.table.rules();
        if key == Key::EVERYONE {
            return self.with_everyone(|state| step(rules, state));
        }
        self.table
            .step_noting(&key, at, overflown, |state| step(rules, state))
    }

    /// See [`Table::give_back_overflown`].
    pub(super) fn give_back_overflown(
        &self,
        key: Key,
        booking: Overflown,
        units: u32,
        own: impl FnOnce() -> u64,
        change: impl Fn(&RuleSet, &mut [u64], u64),
    ) {
        let change = |state: &mut [u64], others| change(self.table.rules(), state, others);
        self.table
            .give_back_overflown(key, booking, units, own, change);
    }

    fn look<T>(&self, key: Key, look: impl FnOnce(&RuleSet, &[u64]) -> T) -> Option<T> {
        let rules = self.table.rules();
        if key == Key::EVERYONE {
            return self.with_everyone(|state| look(rules, state));
        }
        self.table.look(key, |state| look(rules, state))
    }

    /// Changes the state of `key`, unless it has no cell.
    pub(super) fn change(&self, key: Key, change: impl FnOnce(&RuleSet, &mut [u64])) -> Option<()> {
        let rules = self.table.rules();
        if key == Key::EVERYONE {
            return self.with_everyone(|state| change(rules, state));
        }
        self.table.change(key, |state| change(rules, state))
    }

    fn with_everyone<T>(&self, act: impl FnOnce(&mut [u64]) -> T) -> Option<T> {
        let mut state = self.everyone();
        (!state.is_empty()).then(|| act(&mut state))
    }

    fn everyone(&self) -> MutexGuard<'_, Box<[u64]>> {
        self.everyone
            .lock()
            .expect("nothing panics under this lock")
    }
}

/// In place of a time that is 584 years away, and no further than which anything is booked.
const MOVED: u64 = u64::MAX;
