//! How long a message is on the way to a Redis and back: the words of `store/redis/wire.rs`, as RESP frames them.
//!
//! What a message of the machines does not carry is counted as long as its like: of a record in a ticket its counters
//! of beats and grants as the number of the plan, its bounds as the hold.

use crate::fleet::key_state::TOKEN_LIFE;
use crate::fleet::message::{
    Answer, Beat, Commit, CommitAnswer, Grant, NodeView, Push, Report, Ticket, Welcome,
};
use crate::fleet::settings::Settings;
use std::time::Duration;

/// A key as `tidegate:1:{api-gate}`, and the channel of a node with a colon and its incarnation behind it.
const KEY: usize = 21;
/// `EVALSHA`, the script's name and the number of keys.
const CALL: [usize; 3] = [7, 40, 1];
/// A server's name for itself.
const SERVER: usize = 40;
/// Milliseconds of a day: how long a key is kept.
const KEEP: u64 = 86_400_000;

pub(super) fn beat(beat: &Beat) -> usize {
    let Beat {
        name,
        incarnation,
        sequence,
        epoch,
        fresh_epoch,
        store_time,
        echo,
        generation,
        share,
        in_flight,
        mode: _,
        starved: _,
        limit,
        plan,
        longest,
        report: told,
        settings,
        line,
    } = beat;
    let settings: &Settings = settings;
    let mut words = Words::call();
    words.add(name.len());
    words.numbers([*incarnation, *sequence]);
    words.add(epoch.map_or(0, digits));
    words.number(*fresh_epoch);
    words.add(store_time.map_or(0, |time| digits(time.as_micros())));
    words.numbers([*echo, *generation]);
    words.numbers([*share, *in_flight].map(u64::from));
    // Mode and starved.
    words.numbers([0, 0]);
    words.numbers([u64::from(*limit), *plan]);
    words.add(report(told));
    words.number(settings.revision);
    words.add(line.len());
    words.numbers([settings.reclaim(), settings.linger(), settings.slack()].map(micros));
    // Whether an empty store is trusted.
    words.numbers([0, micros(TOKEN_LIFE), KEEP, micros(*longest)]);
    words.framed()
}

pub(super) fn commit(commit: &Commit) -> usize {
    let Commit {
        incarnation,
        epoch,
        token,
        version,
        limit,
        nodes,
        hungry: _,
        acknowledged: _,
        round,
        rest,
        memory,
        pulse,
        changes,
    } = commit;
    let mut words = Words::call();
    words.numbers([*incarnation, *epoch, *token, *version]);
    words.numbers([u64::from(*limit), u64::from(*nodes), 0, 0]);
    words.numbers([micros(*round), micros(*rest), micros(TOKEN_LIFE), KEEP]);
    words.add(KEY + 1);
    words.add(memory.to_string().len());
    words.numbers(pulse.numbers());
    for change in changes {
        words.number(change.incarnation);
        words.numbers([change.share, change.safe, change.target].map(u64::from));
    }
    words.framed()
}

pub(super) fn answer(answer: &Answer) -> usize {
    let Answer {
        sequence: _,
        epoch,
        welcome,
        stamp,
        store_time,
        grant,
        target,
        limit,
        plan,
        nodes,
        pulse,
        longest,
        learning,
        again_in,
        ticket: more,
    } = answer;
    let mut words = Words::default();
    let (word, settings) = match welcome {
        Welcome::Member => ("member", None),
        Welcome::DuplicateName => ("duplicate", None),
        Welcome::Gone => ("gone", None),
        Welcome::OtherSettings(line) => ("other", Some(line.len())),
    };
    words.add(word.len());
    words.numbers([*epoch, *stamp, store_time.as_micros()]);
    words.grant(*grant);
    words.numbers([u64::from(*target), u64::from(*limit), *plan]);
    words.number(u64::from(*nodes));
    words.numbers(pulse.numbers());
    words.number(micros(*learning));
    // Without a wait it is -1.
    words.add(again_in.map_or(2, |wait| digits(micros(wait))));
    words.number(micros(*longest));
    // Settings are told in every answer; those of other settings by the refusal, else by the ticket.
    let planned = || more.as_ref().map(|ticket| ticket.snapshot.settings.len());
    let line = settings.or_else(planned);
    words.add(line.unwrap_or_else(|| Settings::default().to_string().len()));
    words.framed() + ticket(more.as_deref())
}

pub(super) fn commit_answer(answer: &CommitAnswer) -> usize {
    let CommitAnswer {
        outcome: _,
        epoch,
        grant,
        target,
        limit,
        plan,
        nodes,
        ticket: more,
    } = answer;
    let mut words = Words::default();
    words.add("applied".len());
    words.number(*epoch);
    words.grant(*grant);
    words.numbers([u64::from(*target), u64::from(*limit), *plan]);
    words.number(u64::from(*nodes));
    words.framed() + ticket(more.as_deref())
}

/// A line on the channel of the node.
pub(super) fn push(push: &Push) -> usize {
    let Push {
        epoch,
        grant,
        target,
    } = push;
    let line = [*epoch, grant.generation].map(digits).iter().sum::<usize>()
        + [grant.share, grant.safe, *target]
            .map(|slots| digits(u64::from(slots)))
            .iter()
            .sum::<usize>()
        + 4;
    let mut words = Words::default();
    words.add("message".len());
    words.add(KEY + 1 + digits(u64::MAX));
    words.add(line);
    words.framed()
}

/// The right to plan with the whole key behind it; a single false if there is none.
fn ticket(ticket: Option<&Ticket>) -> usize {
    let Some(Ticket { token, snapshot }) = ticket else {
        return "$-1\r\n".len();
    };
    let (time, plan) = (snapshot.store_time.as_micros(), snapshot.plan);
    let mut words = Words::default();
    words.numbers([*token, snapshot.version, time]);
    words.numbers([u64::from(snapshot.limit), plan]);
    words.add(snapshot.settings.len());

    let mut list = Words::default();
    // The epoch: eight moments or times, and as many counters and sizes as there are nodes or plans.
    list.add(1);
    list.add(digits(snapshot.epoch) + SERVER + 8 * digits(time) + 19 * digits(plan) + 28);
    list.add(1);
    list.add(snapshot.settings.len());
    list.add(1);
    list.add(snapshot.memory.to_string().len());
    for node in &snapshot.nodes {
        list.number(node.incarnation);
        list.add(record(node, plan));
        // Who owns the name.
        list.add(1 + node.name.len());
        list.number(node.incarnation);
    }
    words.framed() + list.framed()
}

/// A record's line: eighteen numbers, the report and the name, apart by blanks.
fn record(node: &NodeView, plan: u64) -> usize {
    let NodeView {
        incarnation: _,
        name,
        open: _,
        starved: _,
        deadline,
        share,
        safe,
        since,
        target,
        hold,
        in_flight,
        report: told,
    } = node;
    let moments = 2 * digits(deadline.as_micros()) + digits(since.as_micros());
    let slots = [*share, *safe, *target, *in_flight].map(|slots| digits(u64::from(slots)));
    let bounds = 4 * digits(u64::from(*hold));
    // Sequence, birth, generation and mark; life, closing and starved.
    let counters = 4 * digits(plan) + 3;
    moments + slots.iter().sum::<usize>() + bounds + counters + 19 + report(told) + name.len()
}

/// Eighteen numbers, apart by commas.
fn report(report: &Report) -> usize {
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
    let small = [
        local_limit,
        demand,
        critical,
        default,
        sheddable,
        peak,
        weight,
    ]
    .map(|number| digits(u64::from(*number)));
    let large = [
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
    ]
    .map(|number| digits(*number));
    small.iter().chain(&large).sum::<usize>() + 17
}

/// Words of one array.
#[derive(Debug, Default)]
struct Words {
    count: usize,
    bytes: usize,
}

impl Words {
    /// A call of a script on the key.
    fn call() -> Self {
        let mut words = Self::default();
        CALL.into_iter()
            .chain([KEY])
            .for_each(|length| words.add(length));
        words
    }

    /// `$<length>\r\n<word>\r\n`.
    fn add(&mut self, length: usize) {
        self.count += 1;
        self.bytes += 1 + digits(length as u64) + 2 + length + 2;
    }

    fn number(&mut self, number: u64) {
        self.add(digits(number));
    }

    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        numbers.into_iter().for_each(|number| self.number(number));
    }

    fn grant(&mut self, grant: Grant) {
        self.numbers([
            grant.generation,
            u64::from(grant.share),
            u64::from(grant.safe),
        ]);
    }

    /// `*<count>\r\n` and the words.
    fn framed(&self) -> usize {
        1 + digits(self.count as u64) + 2 + self.bytes
    }
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::estimate::Memory;
    use crate::fleet::message::{Change, Pulse, Snapshot};
    use crate::time::StoreTime;
    use std::sync::Arc;

    /// What a client writes for a call with these arguments.
    fn called(arguments: &[String]) -> usize {
        let words = ["EVALSHA", &"f".repeat(40), "1", "tidegate:1:{api-gate}"]
            .map(str::to_owned)
            .into_iter()
            .chain(arguments.iter().cloned());
        let framed: Vec<String> = words
            .map(|word| format!("${}\r\n{word}\r\n", word.len()))
            .collect();
        format!("*{}\r\n{}", framed.len(), framed.concat()).len()
    }

    #[test]
    fn a_commit_is_as_long_as_its_call_with_memory_and_changes() {
        let change = Change {
            incarnation: 12_345_678_901,
            share: 100,
            safe: 0,
            target: 99,
        };
        let plan = Commit {
            incarnation: 7,
            epoch: 99,
            token: 10,
            version: 0,
            limit: 200,
            nodes: 2,
            hungry: true,
            acknowledged: true,
            round: Duration::from_millis(500),
            rest: Duration::ZERO,
            memory: Arc::default(),
            pulse: Pulse::default(),
            changes: vec![change; 2],
        };
        let channel = "tidegate:1:{api-gate}:";
        let memory = plan.memory.to_string();
        let mut words =
            format!("7|99|10|0|200|2|1|1|500000|0|250000|86400000|{channel}|{memory}|0|0|0|0|0");
        words += &"|12345678901|100|0|99".repeat(2);
        let words: Vec<String> = words.split('|').map(str::to_owned).collect();
        assert_eq!(commit(&plan), called(&words));
    }

    #[test]
    fn a_ticket_carries_every_record_and_what_the_estimator_remembers() {
        let node = |incarnation| NodeView {
            incarnation,
            name: Arc::from("node-1"),
            open: true,
            starved: false,
            deadline: StoreTime::from_micros(1_000_000),
            share: 1,
            safe: 0,
            since: StoreTime::from_micros(1_000_000),
            target: 1,
            hold: 1,
            in_flight: 0,
            report: Report::default(),
        };
        let with = |count: u64| {
            ticket(Some(&Ticket {
                token: 1,
                snapshot: Snapshot {
                    epoch: 1,
                    version: 1,
                    store_time: StoreTime::from_micros(1),
                    limit: 1,
                    plan: 1,
                    settings: Arc::from("settings"),
                    memory: Arc::default(),
                    nodes: (10..10 + count).map(node).collect(),
                },
            }))
        };
        let line = "0 0 1000000 1000000 1 0 1 1 1 1 0 1 1 1 0 1 1 1000000 0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0 node-1";
        let more = ["10", line, "onode-1", "10"]
            .map(|word| format!("${}\r\n{word}\r\n", word.len()).len())
            .iter()
            .sum::<usize>();
        assert_eq!(with(3) - with(2), more);
        let remembered = Arc::<Memory>::default().to_string().len();
        assert!(with(0) > remembered && ticket(None) == 5);
    }
}
