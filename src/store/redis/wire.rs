//! Messages as the scripts speak them: words in, words out.

use crate::fleet::estimate::Memory;
use crate::fleet::key_state::{EmptyStore, TOKEN_LIFE};
use crate::fleet::message::{
    Answer, Beat, Commit, CommitAnswer, Committed, Grant, Mode, NodeView, Pulse, Push, Report,
    Snapshot, Ticket, Welcome,
};
use crate::fleet::record::{Life, Record};
use crate::store::{StoreError, StoreErrorKind};
use crate::time::StoreTime;
use redis::{FromRedisValue, Value};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// A key that no node has used for this long goes away; one that comes back after that learns like any lost one.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// The field in which the scripts keep what the estimator remembers.
const MEMORY: &str = "%";

/// The arguments of the beat script.
pub(super) fn beat(beat: &Beat, empty: EmptyStore) -> Vec<String> {
    let optional =
        |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    vec![
        beat.name.to_string(),
        beat.incarnation.to_string(),
        beat.sequence.to_string(),
        optional(beat.epoch),
        beat.fresh_epoch.to_string(),
        optional(beat.store_time.map(StoreTime::as_micros)),
        beat.echo.to_string(),
        beat.generation.to_string(),
        beat.share.to_string(),
        beat.in_flight.to_string(),
        match beat.mode {
            Mode::Running => "0",
            Mode::Fenced => "1",
            Mode::Closing => "2",
        }
        .to_owned(),
        u8::from(beat.starved).to_string(),
        beat.limit.to_string(),
        beat.plan.to_string(),
        report(&beat.report),
        beat.settings.revision.to_string(),
        beat.line.to_string(),
        micros(beat.settings.reclaim()),
        micros(beat.settings.linger()),
        micros(beat.settings.slack()),
        u8::from(empty == EmptyStore::Trust).to_string(),
        micros(TOKEN_LIFE),
        KEEP.as_millis().to_string(),
        micros(beat.longest),
    ]
}

/// The arguments of the commit script. `channel` is what the incarnation is appended to for a push.
pub(super) fn commit(commit: &Commit, channel: &str) -> Vec<String> {
    let mut words = vec![
        commit.incarnation.to_string(),
        commit.epoch.to_string(),
        commit.token.to_string(),
        commit.version.to_string(),
        commit.limit.to_string(),
        commit.nodes.to_string(),
        u8::from(commit.hungry).to_string(),
        u8::from(commit.acknowledged).to_string(),
        micros(commit.round),
        micros(commit.rest),
        micros(TOKEN_LIFE),
        KEEP.as_millis().to_string(),
        channel.to_owned(),
        commit.memory.to_string(),
    ];
    words.extend(commit.pulse.numbers().map(|number| number.to_string()));
    for change in &commit.changes {
        words.push(change.incarnation.to_string());
        words.extend([change.share, change.safe, change.target].map(|slots| slots.to_string()));
    }
    words
}

/// The answer to a beat of `sequence`.
pub(super) fn answer(sequence: u64, reply: Value) -> Result<Answer, StoreError> {
    let mut words = Words::of(reply, "beat")?;
    let welcome = words.text()?;
    let epoch = words.number()?;
    let stamp = words.number()?;
    let store_time = StoreTime::from_micros(words.number()?);
    let grant = words.grant()?;
    let target = words.number()?;
    let limit = words.number()?;
    let plan = words.number()?;
    let nodes = words.number()?;
    let mut pulse = Pulse::default().numbers();
    for number in &mut pulse {
        *number = words.number()?;
    }
    let learning = Duration::from_micros(words.number()?);
    let again_in = words.number::<i64>()?;
    let longest = Duration::from_micros(words.number()?);
    let settings = words.text()?;
    let welcome = match &*welcome {
        "member" => Welcome::Member,
        "duplicate" => Welcome::DuplicateName,
        "gone" => Welcome::Gone,
        "other" => Welcome::OtherSettings(settings.into()),
        _ => return Err(words.malformed()),
    };
    let ticket = words.ticket(epoch)?;
    Ok(Answer {
        sequence,
        epoch,
        welcome,
        stamp,
        store_time,
        grant,
        target,
        limit,
        plan,
        nodes,
        pulse: Pulse::of(pulse),
        longest,
        learning,
        again_in: u64::try_from(again_in).ok().map(Duration::from_micros),
        ticket,
    })
}

/// The answer to a commit.
pub(super) fn commit_answer(reply: Value) -> Result<CommitAnswer, StoreError> {
    let mut words = Words::of(reply, "commit")?;
    let outcome = match &*words.text()? {
        "applied" => Committed::Applied,
        "repeated" => Committed::Repeated,
        "token" => Committed::StaleToken,
        "epoch" => Committed::OtherEpoch,
        "version" => Committed::StaleVersion,
        "unsound" => Committed::Unsound,
        _ => return Err(words.malformed()),
    };
    let epoch = words.number()?;
    Ok(CommitAnswer {
        outcome,
        epoch,
        grant: words.grant()?,
        target: words.number()?,
        limit: words.number()?,
        plan: words.number()?,
        nodes: words.number()?,
        ticket: words.ticket(epoch)?,
    })
}

/// A pushed grant.
pub(super) fn push(line: &str) -> Option<Push> {
    let mut words = line.split(' ').map(|word| word.parse::<u64>().ok());
    let mut next = || words.next().flatten();
    let epoch = next()?;
    let generation = next()?;
    let mut slots = || next().and_then(|slots| u32::try_from(slots).ok());
    let grant = Grant {
        generation,
        share: slots()?,
        safe: slots()?,
    };
    Some(Push {
        epoch,
        grant,
        target: slots()?,
    })
}

fn report(report: &Report) -> String {
    let Report {
        local_limit,
        demand,
        ranked: [critical, default, sheddable],
        peak,
        weight,
        baseline_us,
        completions,
        latency_us,
        latency_us2,
        held_us,
        arrivals,
        sheds,
        other_sheds,
        drops,
        clock_us,
        lingered_us,
    } = report;
    format!(
        "{local_limit},{demand},{peak},{weight},{baseline_us},{completions},{latency_us},{held_us},{arrivals},{sheds},\
         {other_sheds},{drops},{clock_us},{critical},{default},{sheddable},{latency_us2},{lingered_us}"
    )
}

fn read_report(line: &str) -> Option<Report> {
    let mut words = line.split(',').map(|word| word.parse::<u64>().ok());
    let mut next = || words.next().flatten();
    let mut small = || next().and_then(|number| u32::try_from(number).ok());
    let (local_limit, demand, peak, weight) = (small()?, small()?, small()?, small()?);
    let mut report = Report {
        local_limit,
        demand,
        peak,
        ranked: [0; 3],
        weight,
        baseline_us: next()?,
        completions: next()?,
        latency_us: next()?,
        latency_us2: 0,
        held_us: next()?,
        arrivals: next()?,
        sheds: next()?,
        other_sheds: next()?,
        drops: next()?,
        clock_us: next()?,
        lingered_us: 0,
    };
    // A node that says nothing of classes has but one.
    for slots in &mut report.ranked {
        *slots = next().map_or(Some(0), |number| u32::try_from(number).ok())?;
    }
    // One that says nothing of squares has latencies that are alike.
    report.latency_us2 = next().unwrap_or(0);
    // And one that says nothing of bodies has none that stream on.
    report.lingered_us = next().unwrap_or(0);
    Some(report)
}

/// A record's line, in the order of the scripts' `FIELDS`.
fn read_record(line: &str) -> Option<Record> {
    let mut words = line.splitn(20, ' ');
    let mut next = || words.next();
    let mut number = || next().and_then(|word| word.parse::<u64>().ok());
    let life = match number()? {
        0 => Life::Live,
        1 => Life::Quarantined,
        2 => Life::Refused,
        3 => Life::Lapsed,
        4 => Life::Left,
        _ => return None,
    };
    let closing = number()? == 1;
    let (deadline, ends) = (
        StoreTime::from_micros(number()?),
        StoreTime::from_micros(number()?),
    );
    let slots = |number: u64| u32::try_from(number).ok();
    let (share, in_flight) = (slots(number()?)?, slots(number()?)?);
    let (enforced, low, high) = (slots(number()?)?, slots(number()?)?, slots(number()?)?);
    let safe_high = slots(number()?)?;
    let starved = number()? == 1;
    let (sequence, born, generation) = (number()?, number()?, number()?);
    let (safe, target) = (slots(number()?)?, slots(number()?)?);
    let mark = number()?;
    let since = StoreTime::from_micros(number()?);
    let grant = Grant {
        generation,
        share,
        safe,
    };
    let report = read_report(next()?)?;
    let name = Arc::from(next()?);
    Some(Record {
        name,
        life,
        closing,
        starved,
        sequence,
        born,
        deadline,
        ends,
        grant,
        since,
        target,
        in_flight,
        enforced,
        low,
        high,
        mark,
        safe_high,
        report,
    })
}

fn micros(duration: Duration) -> String {
    duration.as_micros().to_string()
}

/// The words of a reply, in order.
struct Words {
    script: &'static str,
    words: std::vec::IntoIter<Value>,
    read: usize,
}

impl Words {
    fn of(reply: Value, script: &'static str) -> Result<Self, StoreError> {
        let empty = Self {
            script,
            words: Vec::new().into_iter(),
            read: 0,
        };
        match reply {
            Value::Array(words) => Ok(Self {
                words: words.into_iter(),
                ..empty
            }),
            _ => Err(empty.malformed()),
        }
    }

    fn malformed(&self) -> StoreError {
        let Self { script, read, .. } = self;
        StoreError::new(
            StoreErrorKind::Protocol,
            format!(
                "the {script} script answered in another shape than it should, at word {read}: is the server a Redis?"
            ),
        )
    }

    fn value(&mut self) -> Result<Value, StoreError> {
        self.read += 1;
        self.words.next().ok_or_else(|| self.malformed())
    }

    fn text(&mut self) -> Result<String, StoreError> {
        let value = self.value()?;
        String::from_redis_value(value).map_err(|_| self.malformed())
    }

    fn number<N: FromStr>(&mut self) -> Result<N, StoreError> {
        self.text()?.parse().map_err(|_| self.malformed())
    }

    fn grant(&mut self) -> Result<Grant, StoreError> {
        Ok(Grant {
            generation: self.number()?,
            share: self.number()?,
            safe: self.number()?,
        })
    }

    fn ticket(&mut self, epoch: u64) -> Result<Option<Box<Ticket>>, StoreError> {
        let mut words = match self.value()? {
            Value::Nil | Value::Boolean(false) => return Ok(None),
            ticket => Self::of(ticket, self.script)?,
        };
        let token = words.number()?;
        let version = words.number()?;
        let store_time = StoreTime::from_micros(words.number()?);
        let limit = words.number()?;
        let plan = words.number()?;
        let settings = Arc::from(words.text()?);
        let list = words.value()?;
        let mut records = Self::of(list, self.script)?;
        let mut nodes: Vec<NodeView> = Vec::with_capacity(records.words.len() / 2);
        let mut memory = Arc::default();
        while records.words.len() > 0 {
            let field = records.text()?;
            if field == MEMORY {
                // What another version has written is nothing to go on from.
                memory = Arc::new(Memory::read(&records.text()?).unwrap_or_default());
                continue;
            }
            if !field.starts_with(|first: char| first.is_ascii_digit()) {
                // The numbers of the epoch, the settings, and who owns which name.
                records.value()?;
                continue;
            }
            let incarnation = field.parse().map_err(|_| records.malformed())?;
            let record = read_record(&records.text()?).ok_or_else(|| records.malformed())?;
            nodes.push(record.view(incarnation));
        }
        nodes.sort_unstable_by_key(|node| node.incarnation);
        let snapshot = Snapshot {
            epoch,
            version,
            store_time,
            limit,
            plan,
            settings,
            memory,
            nodes,
        };
        Ok(Some(Box::new(Ticket { token, snapshot })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Report {
        Report {
            local_limit: 1,
            demand: 2,
            ranked: [3, 4, 5],
            peak: 6,
            weight: 7,
            baseline_us: 8,
            completions: 9,
            latency_us: 10,
            latency_us2: 11,
            held_us: 12,
            lingered_us: 13,
            arrivals: 14,
            sheds: 15,
            other_sheds: 16,
            drops: 17,
            clock_us: 18,
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written_and_what_older_versions_did_not_tell_is_nothing() {
        let line = report(&told());
        assert_eq!(read_report(&line), Some(told()));
        let without = |numbers: usize| {
            let words: Vec<_> = line.split(',').collect();
            read_report(&words[..words.len() - numbers].join(","))
        };
        let mut older = told();
        for (missing, forget) in [
            |it: &mut Report| it.lingered_us = 0,
            |it: &mut Report| it.latency_us2 = 0,
            |it: &mut Report| it.ranked[2] = 0,
            |it: &mut Report| it.ranked[1] = 0,
            |it: &mut Report| it.ranked[0] = 0,
        ]
        .into_iter()
        .enumerate()
        {
            forget(&mut older);
            assert_eq!(without(missing + 1), Some(older), "{missing}");
        }
        assert_eq!(without(6), None, "every version tells of its clock");
        assert_eq!(read_report(&line.replace("10", "ten")), None);
    }
}
