//! Who lives under a name: joining, renewing, coming back and being refused (I9, I10).

use crate::fleet::key_state::epoch::Epoch;
use crate::fleet::message::{Beat, Grant, Mode};
use crate::fleet::record::{Life, Record};
use crate::time::StoreTime;
use std::sync::Arc;

impl Epoch {
    /// A node this epoch does not know. What it claims is held; what it may have is at most that, and only while
    /// the store is learning (I9).
    pub(super) fn join(&mut self, beat: &Beat) {
        // Who drains is on its way out, and contests no name.
        let predecessor = match beat.mode {
            Mode::Closing => None,
            Mode::Running | Mode::Fenced => {
                self.owners.insert(Arc::clone(&beat.name), beat.incarnation)
            }
        };
        if let Some(older) = predecessor
            && self
                .records
                .get(&older)
                .is_some_and(|record| matches!(record.life, Life::Live | Life::Lapsed))
        {
            let generation = self.next_generation();
            let record = self.records.get_mut(&older).expect("looked up above");
            record.life = Life::Quarantined;
            record.withdraw(generation);
        }
        let generation = self.next_generation();
        let claimed = if beat.epoch == Some(self.epoch) {
            0
        } else {
            beat.share
        };
        let capped = if self.limit > 0 {
            claimed.min(self.limit)
        } else {
            claimed
        };
        let share = if self.is_learning() && beat.mode != Mode::Closing {
            capped
        } else {
            0
        };
        if beat.share > 0 || beat.in_flight > 0 {
            self.version += 1;
        }
        let (deadline, ends) = self.lease_ends(beat);
        self.records.insert(
            beat.incarnation,
            Record {
                name: Arc::clone(&beat.name),
                life: Life::Live,
                closing: beat.mode == Mode::Closing,
                starved: beat.starved,
                sequence: beat.sequence,
                born: self.stamp,
                deadline,
                ends,
                grant: Grant {
                    generation,
                    share,
                    safe: 0,
                },
                since: self.time,
                target: share,
                in_flight: beat.in_flight,
                enforced: beat.share,
                low: 0,
                high: 0,
                mark: generation,
                safe_high: 0,
                report: beat.report,
            },
        );
    }

    /// A known node reports. Answers whether a plan is wanted before the round is over.
    pub(super) fn renew(&mut self, beat: &Beat) -> bool {
        self.wake(beat);
        let (deadline, ends) = self.lease_ends(beat);
        let same_epoch = beat.epoch == Some(self.epoch);
        let record = self
            .records
            .get_mut(&beat.incarnation)
            .expect("the caller looked it up");
        let before = (record.reserved(true), record.reserved(false));
        let known = record.hold();
        if beat.in_flight > known || (!same_epoch && beat.share > known) {
            self.version += 1;
        }
        record.sequence = beat.sequence;
        (record.deadline, record.ends) = (deadline, ends);
        record.in_flight = beat.in_flight;
        record.report = beat.report;
        record.starved = beat.starved;
        if same_epoch {
            record.acknowledge(beat.generation, beat.share);
        } else {
            record.enforced = record.enforced.max(beat.share);
        }
        let leaves = beat.mode == Mode::Closing;
        let news = leaves && !record.closing;
        record.closing |= leaves;
        if record.closing {
            record.grant.share = 0;
            if record.in_flight == 0 {
                record.life = Life::Left;
                (record.enforced, record.low, record.high, record.safe_high) = (0, 0, 0, 0);
            }
        }
        let freed = record.reserved(true) < before.0 || record.reserved(false) < before.1;
        news || record.starved || record.life == Life::Left || (freed && self.hungry)
    }

    /// A lapsed node comes back. A quarantined one is alive if it answers to something newer than the first beat of
    /// its rival, which then is refused; unless the rival is the older of the two and was alive after it came.
    fn wake(&mut self, beat: &Beat) {
        let record = &self.records[&beat.incarnation];
        let (life, born) = (record.life, record.born);
        match life {
            Life::Live | Life::Refused | Life::Left => return,
            Life::Quarantined if beat.mode == Mode::Closing => return,
            Life::Lapsed => {}
            Life::Quarantined => {
                let owner = self.owners.get(&beat.name).copied();
                let rival = owner
                    .filter(|owner| *owner != beat.incarnation)
                    .and_then(|owner| Some((owner, self.records.get(&owner)?)))
                    .filter(|(_, record)| record.life != Life::Left)
                    .map(|(owner, record)| (owner, record.born));
                match rival {
                    Some((_, rivals)) if rivals < born => {
                        return self.refuse(beat.incarnation);
                    }
                    Some((_, rivals)) if beat.epoch != Some(self.epoch) || beat.echo <= rivals => {
                        return;
                    }
                    Some((rival, _)) => self.refuse(rival),
                    None => {}
                }
                self.owners.insert(Arc::clone(&beat.name), beat.incarnation);
            }
        }
        self.version += 1;
        self.records
            .get_mut(&beat.incarnation)
            .expect("looked up above")
            .life = Life::Live;
    }

    fn refuse(&mut self, incarnation: u64) {
        let generation = self.next_generation();
        let record = self
            .records
            .get_mut(&incarnation)
            .expect("the caller looked it up");
        record.life = Life::Refused;
        record.withdraw(generation);
    }

    fn lease_ends(&self, beat: &Beat) -> (StoreTime, StoreTime) {
        let deadline = self
            .time
            .saturating_add(beat.settings.reclaim() + self.slack);
        (deadline, deadline.saturating_add(beat.settings.linger()))
    }
}
