//! Rules of the protocol undone: what the model must catch to be worth believing.
//!
//! A mutant is a filter between the production functions: it changes what one says before the other hears it, so that
//! the rule is as good as gone. `Handoff::Committed`, `EmptyStore::Trust` and clocks that break their word need none:
//! they are settings.

use crate::fleet::member::Member;
use crate::fleet::message::{Beat, Grant, Mode};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mutant {
    /// What is in flight above the share is not reserved.
    ReserveOnlyTheShare,
    /// A node that leaves is gone at once, whatever it still runs.
    ReleaseOnLeave,
    /// Answers of an epoch that a node has left count like others.
    ForgetTheEpoch,
    /// The slots of a node that has nothing to do count as given back while it still has them.
    LendUnasked,
    /// That a node without slots has something to do is not heard.
    IgnoreTheWant,
}

impl Mutant {
    /// What the store hears of what the node said.
    pub(super) fn bend_beat(self, beat: &mut Beat) {
        match self {
            Self::ReserveOnlyTheShare => beat.in_flight = beat.in_flight.min(beat.share),
            Self::ReleaseOnLeave if beat.mode == Mode::Closing => beat.in_flight = 0,
            Self::LendUnasked if beat.report.demand == 0 => beat.share = 0,
            Self::IgnoreTheWant if beat.share == 0 && beat.in_flight == 0 => {
                (beat.starved, beat.report.demand) = (false, 0);
            }
            Self::ReleaseOnLeave
            | Self::ForgetTheEpoch
            | Self::LendUnasked
            | Self::IgnoreTheWant => {}
        }
    }

    /// What the node hears of what the store said.
    pub(super) fn bend_grant(self, member: &Member, epoch: &mut u64, grant: &mut Grant) {
        if self == Self::ForgetTheEpoch
            && let Some(entered) = member.epoch()
            && entered != *epoch
        {
            *epoch = entered;
            // Epochs count from one: the other's number may well be the higher one.
            grant.generation = member.generation() + 1;
        }
    }
}
