//! What a tier asks of origin and of the global store, and what it does with the answers.

use crate::key::Key;
use crate::layered::cell::Told;
use crate::layered::flush::Pending;
use crate::layered::link::RETRY;
use crate::layered::slots::Slot;
use crate::layered::tier::Tier;
use crate::layered::time::Moment;
use crate::time::LocalTime;

/// A cell to be read, and the one before, unless that is final.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ReadLine {
    /// The number of the policy.
    pub(crate) policy: u8,
    pub(crate) key: Key,
    pub(crate) sequence: u64,
    pub(crate) previous: bool,
}

/// What origin is told of one cell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FlushLine {
    /// The number of the policy.
    pub(crate) policy: u8,
    pub(crate) key: Key,
    pub(crate) sequence: u64,
    pub(crate) holder: u64,
    pub(crate) told: Told,
}

/// A region's count of one cell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PublishLine {
    /// The number of the policy.
    pub(crate) policy: u8,
    pub(crate) key: Key,
    pub(crate) sequence: u64,
    pub(crate) total: u64,
}

/// What the global store knows of one cell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ImportLine {
    /// The number of the policy.
    pub(crate) policy: u8,
    pub(crate) key: Key,
    pub(crate) sequence: u64,
    pub(crate) own: u64,
    pub(crate) foreign: u64,
}

/// What was answered to a [`ReadLine`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Totals {
    pub(crate) current: u64,
    pub(crate) previous: Option<u64>,
}

impl Tier {
    /// The next cell to be read.
    #[must_use]
    pub(crate) fn poll_read(&mut self) -> Option<ReadLine> {
        let slot = self.slots.at(self.wanted.pop_front()?);
        Some(ReadLine {
            policy: self.setup.number,
            key: slot.key,
            sequence: slot.sequence,
            previous: !slot.freshness.is_frozen(),
        })
    }

    /// Origin has answered what was asked at `sent`.
    pub(crate) fn handle_read(
        &mut self,
        line: &ReadLine,
        totals: Totals,
        sent: LocalTime,
        now: &Moment,
    ) {
        let Some(number) = self.slots.find(line.key) else {
            return;
        };
        let window = self.setup.window;
        let grace = self.setup.grace().as_nanos() as u64;
        let slot = self.slots.at(number);
        if let Some(cell) = slot.cell(line.sequence) {
            cell.handle_read(totals.current);
        }
        if let Some(previous) = totals.previous
            && let Some(cell) = slot.cell(line.sequence.saturating_sub(1))
        {
            cell.handle_read(previous);
        }
        if slot.sequence == line.sequence {
            let asked = now
                .shared
                .saturating_sub(now.local.since(sent).as_nanos() as u64);
            let frozen = window.sequence(asked) == slot.sequence && window.elapsed(asked) >= grace;
            slot.freshness.handle_read(sent, frozen);
            let used = window.view(slot, now.shared).used();
            slot.strict.handle_usage(used, window.limit());
        } else if slot.sequence == line.sequence + 1 {
            slot.freshness.handle_late_read(sent, now.local);
        } else {
            slot.freshness.handle_nothing();
        }
        if window.sequence(now.shared) > line.sequence + 1 {
            // It says nothing of the present window, nor would the next one: what is known decides.
            slot.freshness.handle_failure(now.local);
        }
        self.tell_again(number, now.local);
        self.consider_publishing(number);
    }

    /// Nobody has answered, or nobody was asked.
    pub(crate) fn handle_read_failure(&mut self, line: &ReadLine, now: LocalTime) {
        if let Some(number) = self.slots.find(line.key) {
            self.slots.at(number).freshness.handle_failure(now);
        }
    }

    /// What the next slot has to tell, as up to two lines; none if it was told meanwhile. Everything, if `now` is
    /// [`LocalTime::NEVER`].
    #[must_use]
    pub(crate) fn poll_flush(&mut self, now: LocalTime) -> Option<[Option<FlushLine>; 2]> {
        let (number, entry) = self.flushes.poll(now)?;
        let slot = self.slots.at(number);
        if slot.pending != entry {
            return Some([None, None]);
        }
        slot.pending = Pending::NOTHING;
        let Slot {
            key,
            holder,
            sequence,
            ..
        } = *slot;
        let policy = self.setup.number;
        let line = |sequence, told: Option<Told>| {
            told.map(|told| FlushLine {
                policy,
                key,
                sequence,
                holder,
                told,
            })
        };
        let previous = line(sequence.saturating_sub(1), slot.previous.poll_tell());
        Some([previous, line(sequence, slot.current.poll_tell())])
    }

    /// Origin was told `line` by a message sent at `sent`, and knows `total`.
    pub(crate) fn handle_flush(&mut self, line: &FlushLine, total: u64, sent: LocalTime) {
        let Some((number, slot)) = self.slots.held(line.key, line.holder) else {
            return;
        };
        if let Some(cell) = slot.cell(line.sequence) {
            cell.handle_told(line.told.accepted, total);
            if line.sequence == slot.sequence {
                slot.freshness.handle_flush(sent);
            }
            self.consider_publishing(number);
        }
    }

    /// Nobody knows whether origin was told.
    pub(crate) fn handle_flush_failure(&mut self, line: &FlushLine, now: LocalTime) {
        if let Some((number, slot)) = self.slots.held(line.key, line.holder)
            && let Some(cell) = slot.cell(line.sequence)
        {
            cell.handle_not_told();
            let due = now.saturating_add(RETRY);
            self.flushes.push_again(number, &mut slot.pending, due);
        }
    }

    /// Origin refuses this cell alone, and answers for others: until it is told again nobody waits for that, and what
    /// was accepted while the message was under way waits for its turn, too.
    pub(crate) fn handle_flush_refusal(&mut self, line: &FlushLine, now: LocalTime) {
        let Some((number, slot)) = self.slots.held(line.key, line.holder) else {
            return;
        };
        slot.freshness.handle_refusal(now);
        if let Some(cell) = slot.cell(line.sequence) {
            cell.handle_not_told();
            let due = now.saturating_add(RETRY);
            self.flushes.put_off(number, &mut slot.pending, due);
        }
    }

    /// The next cells that other regions should know of; none if the key was forgotten.
    #[must_use]
    pub(crate) fn poll_publish(&mut self) -> Option<[Option<PublishLine>; 2]> {
        let limit = self.setup.window.limit();
        let key = self.publish.pop_front()?;
        let Some(number) = self.slots.find(key) else {
            return Some([None, None]);
        };
        let slot = self.slots.at(number);
        slot.publishing = false;
        let policy = self.setup.number;
        let line = |sequence, total: Option<u64>| {
            total.map(|total| PublishLine {
                policy,
                key,
                sequence,
                total,
            })
        };
        let [before, present] = slot.poll_publish(limit);
        Some([
            line(slot.sequence.saturating_sub(1), before),
            line(slot.sequence, present),
        ])
    }

    /// The global store knows `line` now.
    pub(crate) fn handle_publish(&mut self, line: &PublishLine) {
        if let Some(number) = self.slots.find(line.key)
            && let Some(cell) = self.slots.at(number).cell(line.sequence)
        {
            cell.handle_import(line.total, 0);
        }
    }

    /// Nobody knows whether the global store was told.
    pub(crate) fn handle_publish_failure(&mut self, line: &PublishLine) {
        if let Some(number) = self.slots.find(line.key) {
            self.consider_publishing(number);
        }
    }

    /// The global store may have lost what it knew: what matters is published again. Goes over a few slots from `number`, and
    /// answers where to go on.
    #[must_use]
    pub(crate) fn handle_unpublished(&mut self, number: u32) -> Option<u32> {
        let (numbers, next) = self.slots.numbers_from(number);
        for number in numbers {
            let slot = self.slots.at(number);
            slot.current.handle_unpublished();
            slot.previous.handle_unpublished();
            self.consider_publishing(number);
        }
        next
    }

    /// What the global store knows of a cell: a lower bound, which makes nothing fresh.
    pub(crate) fn handle_import(&mut self, line: &ImportLine, now: &Moment) {
        if let Some(number) = self.slots.find(line.key) {
            if let Some(cell) = self.slots.at(number).cell(line.sequence) {
                cell.handle_import(line.own, line.foreign);
            }
            self.consider_publishing(number);
        }
        // Also for a slot whose window has not begun here yet.
        let present = self.setup.window.sequence(now.shared);
        if line.foreign == 0 || line.sequence + 1 < present {
            return;
        }
        if let Some(known) = self.foreign.get_mut(&(line.key, line.sequence)) {
            *known = line.foreign.max(*known);
            return;
        }
        if self.foreign.len() >= self.setup.room && self.foreign_swept < present {
            self.foreign_swept = present;
            self.foreign
                .retain(|(_, sequence), _| *sequence + 1 >= present);
        }
        if self.foreign.len() < self.setup.room {
            self.foreign.insert((line.key, line.sequence), line.foreign);
        } else {
            self.tally.unheard += 1;
        }
    }

    /// Queues a repair of what origin has lost.
    pub(super) fn tell_again(&mut self, number: u32, now: LocalTime) {
        let slot = self.slots.at(number);
        if !slot.current.is_settled() || !slot.previous.is_settled() {
            self.flushes.push(number, &mut slot.pending, now);
        }
    }

    pub(super) fn consider_publishing(&mut self, number: u32) {
        let limit = self.setup.window.limit();
        let slot = self.slots.at(number);
        let any = slot.poll_publish(limit).iter().any(Option::is_some);
        if self.setup.global && any && !slot.publishing {
            slot.publishing = true;
            self.publish.push_back(slot.key);
        }
    }
}
