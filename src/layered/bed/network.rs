//! What the shell of a node does, in virtual time: messages with a round trip, lost ones, and the exchange of regions.

use super::{EPOCH, Event, GLOBAL_EVERY, PATIENCE, Request, World};
use crate::key::Key;
use crate::layered::exchange::{FlushLine, PublishLine, ReadLine, Totals};
use crate::layered::origin::OriginCell;
use crate::layered::tier::Answer;
use crate::limiter::count::Booking;
use crate::time::LocalTime;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(super) enum Sent {
    Read(Vec<ReadLine>),
    Flush(Vec<FlushLine>),
}

pub(super) enum Reply {
    Read(Vec<(ReadLine, Totals)>),
    Flush(Vec<(FlushLine, u64)>),
}

impl World {
    pub(super) fn ask(&mut self, node: usize, request: Request) {
        let now = self.moment(node);
        let tier = &mut self.nodes[node].tier;
        match tier.decide(request.key, request.cost, Booking::Spent, &now) {
            Answer::Decided { decision, .. } => {
                if decision.is_allowed() {
                    self.seen.admitted += u64::from(request.cost);
                }
            }
            Answer::Wait => self.nodes[node].waiting.push(request),
        }
    }

    /// What the shell does: sends what is to be sent, and sets a timer.
    pub(super) fn pump(&mut self, node: usize) {
        let now = self.local();
        let it = &mut self.nodes[node];
        if it.link.may_ask(now) {
            let reads: Vec<ReadLine> = std::iter::from_fn(|| it.tier.poll_read()).collect();
            let lines: Vec<FlushLine> = std::iter::from_fn(|| it.tier.poll_flush(now))
                .flatten()
                .flatten()
                .collect();
            if !reads.is_empty() || !lines.is_empty() {
                it.link.asks(now, PATIENCE);
            }
            self.seen.reads += reads.len() as u64;
            self.seen.writes += lines.len() as u64;
            if !lines.is_empty() {
                self.send(node, Sent::Flush(lines));
            }
            if !reads.is_empty() {
                self.send(node, Sent::Read(reads));
            }
        } else {
            while let Some(line) = it.tier.poll_read() {
                it.tier.handle_read_failure(&line, now);
            }
        }
        let it = &self.nodes[node];
        let due = it.tier.poll_timeout();
        if due != LocalTime::NEVER {
            let probe = it.link.poll_timeout().unwrap_or(due);
            let at = due.max(probe).as_nanos().max(self.now + 1);
            if at < it.wake_at {
                self.nodes[node].wake_at = at;
                self.at(at, Event::Wake(node));
            }
        }
    }

    pub(super) fn send(&mut self, node: usize, sent: Sent) {
        let id = self.count as u64;
        self.nodes[node].open.insert(id, sent.clone());
        let patience = PATIENCE.as_nanos() as u64;
        self.at(self.now + patience, Event::GivenUp(node, id, self.now));
        if !self.is_lost() {
            let at = self.now + self.scene.round_trip / 2;
            self.at(at, Event::Arrives(node, id, sent, self.now));
        }
    }

    pub(super) fn is_lost(&mut self) -> bool {
        self.scene.loss > 0 && self.rng.u64(..self.scene.loss) == 0
    }

    pub(super) fn arrives(&mut self, node: usize, id: u64, sent: &Sent, at: u64) {
        let origin = &mut self.origins[self.nodes[node].region];
        if origin.away {
            return;
        }
        let total = |cells: &BTreeMap<(Key, u64), OriginCell>, key, sequence| {
            cells.get(&(key, sequence)).map_or(0, OriginCell::total)
        };
        let reply = match sent {
            Sent::Read(lines) => Reply::Read(
                lines
                    .iter()
                    .map(|line| {
                        let previous = line
                            .previous
                            .then(|| total(&origin.cells, line.key, line.sequence - 1));
                        let current = total(&origin.cells, line.key, line.sequence);
                        (*line, Totals { current, previous })
                    })
                    .collect(),
            ),
            Sent::Flush(lines) => Reply::Flush(
                lines
                    .iter()
                    .map(|line| {
                        let cell = origin.cells.entry((line.key, line.sequence)).or_default();
                        (*line, cell.tell(line.holder, line.told))
                    })
                    .collect(),
            ),
        };
        if !self.is_lost() {
            let back = self.now + self.scene.round_trip / 2;
            self.at(back, Event::Answer(node, id, reply, EPOCH + self.now, at));
        }
    }

    pub(super) fn answered(&mut self, node: usize, id: u64, reply: Reply, theirs: u64, sent: u64) {
        if self.nodes[node].open.remove(&id).is_none() {
            return;
        }
        let sent = LocalTime::from_nanos(sent);
        let received = self.local();
        self.nodes[node].clock.handle_answer(theirs, sent, received);
        self.nodes[node].link.handle_answer(sent, received);
        let now = self.moment(node);
        let tier = &mut self.nodes[node].tier;
        match reply {
            Reply::Read(lines) => {
                for (line, totals) in lines {
                    tier.handle_read(&line, totals, sent, &now);
                }
            }
            Reply::Flush(lines) => {
                for (line, total) in lines {
                    tier.handle_flush(&line, total, sent);
                }
            }
        }
        self.wake_waiting(node);
    }

    pub(super) fn given_up(&mut self, node: usize, id: u64, sent: u64) {
        let now = self.local();
        let it = &mut self.nodes[node];
        let Some(message) = it.open.remove(&id) else {
            return;
        };
        it.link.handle_failure(LocalTime::from_nanos(sent), now);
        match message {
            Sent::Read(lines) => {
                for line in lines {
                    it.tier.handle_read_failure(&line, now);
                }
            }
            Sent::Flush(lines) => {
                for line in lines {
                    it.tier.handle_flush_failure(&line, now);
                }
            }
        }
        self.wake_waiting(node);
    }

    pub(super) fn wake_waiting(&mut self, node: usize) {
        for request in std::mem::take(&mut self.nodes[node].waiting) {
            self.ask(node, request);
        }
        self.pump(node);
    }

    /// Pulls what has changed since the last time, publishes, and comes back in a while.
    pub(super) fn exchange_globally(&mut self, node: usize) {
        let now = self.moment(node);
        let it = &mut self.nodes[node];
        let region = format!("region-{}", it.region);
        if self.global_up {
            let pulled = self.global.pull(&region, it.cursor);
            if !pulled.cursor.goes_on_from(it.cursor) {
                let mut from = Some(0);
                while let Some(number) = from {
                    from = it.tier.handle_unpublished(number);
                }
            }
            it.cursor = pulled.cursor;
            for line in &pulled.lines {
                it.tier.handle_import(line, &now);
            }
        }
        let lines: Vec<PublishLine> = std::iter::from_fn(|| it.tier.poll_publish())
            .flatten()
            .flatten()
            .collect();
        for line in lines {
            if self.global_up {
                self.global.publish(&region, &line, FRESH_EPOCH);
                it.tier.handle_publish(&line);
            } else {
                it.tier.handle_publish_failure(&line);
            }
        }
        let jitter = self.rng.u64(..GLOBAL_EVERY / 4);
        self.at(
            self.now + GLOBAL_EVERY * 7 / 8 + jitter,
            Event::Global(node),
        );
    }
}

/// Of a global store that is told something for the first time.
const FRESH_EPOCH: u64 = 5;
