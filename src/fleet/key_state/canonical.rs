//! The state of a key up to what it can still tell apart, for the states of the model.

use crate::fleet::key_state::KeyState;
use crate::fleet::key_state::epoch::Epoch;
use crate::fleet::proof::number::{NOON, Number, StoreNumbers};
use crate::fleet::record::{Life, Record};
use crate::time::StoreTime;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A turn of a small fleet, in microseconds: what is no newer than that is compared by which is older alone.
const LONG: u64 = 100_000;

impl KeyState {
    /// Every record's incarnation and life.
    pub(crate) fn lives(&self) -> Vec<(u64, Life)> {
        let records = self.epoch.iter().flat_map(|epoch| &epoch.records);
        records
            .map(|(incarnation, record)| (*incarnation, record.life))
            .collect()
    }

    /// Whether a token is out that has not been spent.
    pub(crate) fn awaits_a_plan(&self) -> bool {
        let ends = self
            .epoch
            .as_ref()
            .map(|epoch| epoch.token_ends > epoch.time);
        ends == Some(true)
    }

    pub(crate) fn is_learning(&self) -> bool {
        self.epoch.as_ref().is_some_and(Epoch::is_learning)
    }

    pub(crate) fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(epoch) = &self.epoch else {
            return writeln!(f, "an empty store");
        };
        let from =
            |then: StoreTime| i128::from(then.as_micros()) - i128::from(epoch.time.as_micros());
        writeln!(
            f,
            "store: epoch {}, learning for {}, limit {}, version {}, token {} for {}, committed {}, dirty {}, hungry {}",
            epoch.epoch,
            from(epoch.learning_until),
            epoch.limit,
            epoch.version,
            epoch.token,
            from(epoch.token_ends),
            epoch.committed,
            epoch.dirty,
            epoch.hungry,
        )?;
        for (incarnation, record) in &epoch.records {
            writeln!(
                f,
                "  {incarnation}: {:?}, beat {}, share {} of generation {}, in flight {}, enforced {}, low {}, high {}, mark {}, born {}, ends in {}",
                record.life,
                record.sequence,
                record.grant.share,
                record.grant.generation,
                record.in_flight,
                record.enforced,
                record.low,
                record.high,
                record.mark,
                record.born,
                from(record.deadline),
            )?;
        }
        Ok(())
    }

    /// Lets the store time be noon, and forgets what makes no difference any more, for a server that calls itself
    /// `server`; answers what became of the numbers that others have of it. With `seniority` it goes on to make a
    /// difference who has had a slot, or none, for longer.
    pub(crate) fn forget(&mut self, server: &str, seniority: bool) -> StoreNumbers {
        match &mut self.epoch {
            Some(epoch) if &*epoch.server == server => epoch.forget(seniority),
            Some(epoch) => {
                epoch.forget_all_but_the_legacy();
                StoreNumbers::default()
            }
            None => StoreNumbers::default(),
        }
    }

    /// The numbers that matter only by comparison with their like.
    pub(crate) fn numbers(&mut self, visit: &mut impl FnMut(Number, &mut u64)) {
        if let Some(epoch) = &mut self.epoch {
            for (incarnation, record) in &mut epoch.records {
                visit(Number::Sequence(*incarnation), &mut record.sequence);
                let generation = Number::Generation(epoch.epoch, *incarnation);
                visit(generation, &mut record.grant.generation);
                visit(generation, &mut record.mark);
            }
            visit(Number::Plan, &mut epoch.plan);
            visit(Number::Plan, &mut epoch.settings_plan);
            visit(Number::Epoch, &mut epoch.epoch);
        }
    }

    /// Has everybody be another.
    pub(crate) fn relabel(&mut self, moved: &impl Fn(u64) -> u64, name: &impl Fn(u64) -> Arc<str>) {
        if let Some(epoch) = &mut self.epoch {
            let records = std::mem::take(&mut epoch.records).into_iter();
            epoch.records = records
                .map(|(who, record)| {
                    let who = moved(who);
                    let name = name(who);
                    (who, Record { name, ..record })
                })
                .collect();
            let owners = std::mem::take(&mut epoch.owners).into_values();
            epoch.owners = owners.map(|who| (name(moved(who)), moved(who))).collect();
        }
    }

    /// What there is of those called `name`, and what not: of who is called what `who` makes of it.
    pub(crate) fn hash_of(&self, name: &str, who: &impl Fn(u64) -> u64, state: &mut impl Hasher) {
        let Some(epoch) = &self.epoch else { return };
        epoch.owners.get(name).map(|owner| who(*owner)).hash(state);
        for (incarnation, record) in &epoch.records {
            if &*record.name == name {
                who(*incarnation).hash(state);
                record.hash_but_the_name(state);
            }
        }
    }

    /// The next generation is above `highest`, the highest that is known anywhere.
    pub(crate) fn count_generations_from(&mut self, highest: u64) {
        if let Some(epoch) = &mut self.epoch {
            epoch.generation = highest;
        }
    }
}

impl Record {
    fn hash_but_the_name(&self, state: &mut impl Hasher) {
        (self.life, self.closing, self.starved, self.sequence).hash(state);
        (self.born, self.deadline, self.ends, self.grant).hash(state);
        (self.since, self.target, self.in_flight, self.enforced).hash(state);
        (self.low, self.high, self.mark, self.safe_high).hash(state);
        self.report.hash(state);
    }
}

impl Epoch {
    fn forget(&mut self, seniority: bool) -> StoreNumbers {
        // Births are compared with those of others of the same name, and with what these echo.
        let contested = |record: &&Record| {
            let names = self.records.values().map(|other| &other.name);
            names.filter(|name| **name == record.name).count() > 1
        };
        let births = self.records.values().filter(contested);
        let births = births.map(|record| record.born).collect();
        let numbers = StoreNumbers {
            epoch: Some(self.epoch),
            time: self.time,
            births,
            stamp: self.stamp,
            version: self.version,
            token: self.token,
            committed: self.committed,
        };
        let ahead =
            |then: StoreTime| numbers.moment(then.max(self.time), std::time::Duration::ZERO);
        let mut ages: Vec<u64> = self
            .records
            .values()
            .map(|record| age(self.time, record))
            .collect();
        ages.push(0);
        ages.sort_unstable();
        ages.dedup();
        let time = self.time;
        for record in self.records.values_mut() {
            let age = age(time, record);
            let rank = ages.partition_point(|other| *other < age) as u64;
            record.since = StoreTime::from_micros(if seniority {
                NOON.as_micros() - rank * LONG
            } else {
                NOON.as_micros()
            });
            record.deadline = ahead(record.deadline);
            record.ends = ahead(record.ends);
            record.born = numbers.stamp(record.born);
        }
        if !self.is_learning() {
            // Nothing of the time before is asked for again.
            self.settings_plan = self.plan;
            self.inherited = std::time::Duration::ZERO;
        }
        self.learning_until = ahead(self.learning_until);
        self.plan_due = ahead(self.plan_due);
        self.rest_ends = ahead(self.rest_ends);
        if self.token_ends > StoreTime::ZERO {
            self.token_ends = ahead(self.token_ends);
        }
        self.stamp = numbers.stamp(self.stamp);
        self.version = 1;
        self.token = numbers.token(self.token);
        self.committed = numbers.token(self.committed);
        self.nodes = 0;
        self.time = NOON;
        numbers
    }

    /// Nothing else of an epoch survives its end.
    fn forget_all_but_the_legacy(&mut self) {
        self.inherited = self.told_longest();
        self.longest = self.inherited;
        self.settings_plan = self.plan;
        (self.time, self.learning_until) = (NOON, NOON);
        (self.token_ends, self.plan_due, self.rest_ends) = (NOON, NOON, NOON);
        (
            self.generation,
            self.stamp,
            self.version,
            self.token,
            self.committed,
        ) = (0, 0, 0, 0, 0);
        (self.hungry, self.dirty, self.in_a_row, self.nodes) = (false, false, 0, 0);
        self.records.clear();
        self.owners.clear();
        self.server = Arc::from("");
    }
}

/// How long it has had a slot, or none.
fn age(now: StoreTime, record: &Record) -> u64 {
    now.as_micros().saturating_sub(record.since.as_micros())
}
