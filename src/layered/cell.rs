//! One node's view of one cell: what origin said, what this node accepted since, and what other regions used.
//!
//! ```text
//! view = base                          what origin last said, own acknowledged accepts included
//!      + accepted - acknowledged       own accepts that origin has not confirmed: pending, and in flight
//!      + imported                      other regions
//!      + reserved                      held for a batch that is not decided yet
//!      - credit                        accepted, told, and given back: the next accepts take it first
//! ```
//!
//! The terms stay apart: one value merged by maximum would let every answer of origin hide what was accepted while it
//! was under way. A node tells origin its whole count of the cell, never a difference, so a message that is repeated,
//! late or overtaken changes nothing.

/// 48 bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Cell {
    base: u64,
    imported: u64,
    /// The own region's count as the global store knows it.
    published: u64,
    accepted: u32,
    /// How much of `accepted` was sent at least once.
    sent: u32,
    acknowledged: u32,
    reserved: u32,
    /// Never more than `accepted`.
    credit: u32,
    /// Origin answered less than it had before: it must hear what is known here.
    forgotten: bool,
    /// This node has accepted something, though all of it may have been given back.
    used: bool,
}

/// What a node tells origin of a cell.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Told {
    /// Accepted by this node since it holds the cell.
    pub(crate) accepted: u32,
    /// The part of it that origin has confirmed.
    pub(crate) acknowledged: u32,
    /// What origin last said.
    pub(crate) known: u64,
}

impl Cell {
    #[inline]
    pub(crate) const fn view(&self) -> u64 {
        self.base
            .saturating_add(self.imported)
            .saturating_add(self.unconfirmed() as u64)
            .saturating_add(self.reserved as u64)
            .saturating_sub(self.credit as u64)
    }

    /// Own accepts that origin has not confirmed.
    #[inline]
    pub(crate) const fn unconfirmed(&self) -> u32 {
        self.accepted - self.acknowledged
    }

    /// What origin knows of the other nodes of the region.
    #[inline]
    pub(crate) const fn others(&self) -> u64 {
        self.base.saturating_sub(self.acknowledged as u64)
    }

    #[cfg(test)]
    pub(crate) const fn reserved(&self) -> u32 {
        self.reserved
    }

    #[inline]
    pub(crate) const fn accept(&mut self, cost: u32) {
        let from_credit = if cost < self.credit {
            cost
        } else {
            self.credit
        };
        self.used = self.used || cost > 0;
        self.credit -= from_credit;
        self.accepted = self.accepted.saturating_add(cost - from_credit);
    }

    /// Whether this node has accepted anything.
    pub(crate) const fn is_used(&self) -> bool {
        self.used
    }

    /// Takes back up to `units` of the own accepts. What origin was not told it never hears of; the rest is there for the
    /// next accepts of this node, for what was told only grows.
    pub(crate) fn refund(&mut self, units: u32) {
        let units = units.min(self.accepted - self.credit);
        let untold = match self.forgotten {
            true => 0,
            false => units.min(self.unsent()),
        };
        self.accepted -= untold;
        self.credit += units - untold;
    }

    pub(crate) const fn reserve(&mut self, cost: u32) {
        self.reserved = self.reserved.saturating_add(cost);
    }

    /// Takes a reservation back. Nothing else that was counted meanwhile changes.
    pub(crate) const fn cancel(&mut self, cost: u32) {
        self.reserved = self.reserved.saturating_sub(cost);
    }

    /// Takes a reservation back and counts what it came to.
    pub(crate) const fn commit(&mut self, cost: u32, actual: u32) {
        self.cancel(cost);
        self.accept(actual);
    }

    /// Accepts that were never sent.
    #[inline]
    pub(crate) const fn unsent(&self) -> u32 {
        self.accepted - self.sent
    }

    /// Whether nothing would be lost if this view was forgotten.
    pub(crate) const fn is_settled(&self) -> bool {
        self.accepted == self.acknowledged && self.reserved == 0 && !self.forgotten
    }

    /// What to tell origin, if there is anything new.
    pub(crate) const fn poll_tell(&mut self) -> Option<Told> {
        if self.unsent() == 0 && !self.forgotten {
            return None;
        }
        self.sent = self.accepted;
        self.forgotten = false;
        Some(Told {
            accepted: self.accepted,
            acknowledged: self.acknowledged,
            known: self.base,
        })
    }

    /// Origin has heard of `accepted`, and knows `total`.
    pub(crate) const fn handle_told(&mut self, accepted: u32, total: u64) {
        self.raise_base(total);
        if accepted > self.acknowledged && accepted <= self.accepted {
            self.acknowledged = accepted;
        }
    }

    /// Nobody knows whether origin has heard: say it again.
    pub(crate) const fn handle_not_told(&mut self) {
        self.sent = self.acknowledged;
        self.forgotten = true;
    }

    /// As another view goes on with it, which does not hear what is being told just now.
    pub(crate) const fn carried(mut self) -> Self {
        if self.sent > self.acknowledged {
            self.handle_not_told();
        }
        self
    }

    /// Another view goes on with it: what is held here remains.
    pub(crate) fn handle_carried(&mut self) {
        *self = Self {
            reserved: self.reserved,
            ..Self::default()
        };
    }

    /// Of the own accepts that origin has not confirmed, those that nobody has given back.
    pub(crate) const fn unconfirmed_in_use(&self) -> u32 {
        self.unconfirmed().saturating_sub(self.credit)
    }

    /// Origin says `total`. Counts only grow, so one that is lower than before was lost.
    pub(crate) const fn handle_read(&mut self, total: u64) {
        self.forgotten = self.forgotten || total < self.base;
        self.raise_base(total);
    }

    /// The global store knows `own` of this region and `foreign` of the others. Both are lower bounds.
    pub(crate) const fn handle_import(&mut self, own: u64, foreign: u64) {
        if foreign > self.imported {
            self.imported = foreign;
        }
        if own > self.published {
            self.published = own;
        }
        self.raise_base(own);
    }

    /// Other regions have used this cell.
    pub(crate) const fn is_used_elsewhere(&self) -> bool {
        self.imported > 0
    }

    /// What the other regions should hear: the region's count, if it rose and matters to them, since they use the key
    /// (`elsewhere`) or it is a good part of the limit.
    pub(crate) const fn poll_publish(&self, limit: u32, elsewhere: bool) -> Option<u64> {
        let rose = self.base > self.published;
        let matters = elsewhere || self.base.saturating_mul(5) >= limit as u64;
        if rose && matters {
            Some(self.base)
        } else {
            None
        }
    }

    /// The global store may have lost what was published.
    pub(crate) const fn handle_unpublished(&mut self) {
        self.published = 0;
    }

    const fn raise_base(&mut self, total: u64) {
        if total > self.base {
            self.base = total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_takes_48_bytes() {
        assert_eq!(size_of::<Cell>(), 48);
    }

    #[test]
    fn an_answer_of_origin_hides_nothing_that_was_accepted_meanwhile() {
        let mut cell = Cell::default();
        cell.accept(10);
        let told = cell.poll_tell().expect("something new");
        cell.accept(5);
        // Others have brought it to 70, of which 10 are ours.
        cell.handle_told(told.accepted, 70);
        assert_eq!((cell.view(), cell.unconfirmed()), (75, 5));
        cell.handle_read(90);
        assert_eq!(cell.view(), 95);
    }

    #[test]
    fn acknowledgements_may_repeat_and_swap() {
        let mut cell = Cell::default();
        cell.accept(1);
        let first = cell.poll_tell().expect("something new");
        cell.accept(1);
        let second = cell.poll_tell().expect("something new");
        cell.handle_told(second.accepted, 2);
        cell.handle_told(first.accepted, 1);
        cell.handle_told(second.accepted, 2);
        assert_eq!((cell.view(), cell.unconfirmed()), (2, 0));
        assert!(cell.is_settled());
        assert_eq!(cell.poll_tell(), None);
    }

    #[test]
    fn what_was_perhaps_not_heard_is_said_again() {
        let mut cell = Cell::default();
        cell.accept(3);
        let _ = cell.poll_tell();
        assert_eq!(cell.poll_tell(), None, "it is under way");
        cell.handle_not_told();
        let again = cell.poll_tell().expect("it is said again");
        assert_eq!((again.accepted, again.acknowledged), (3, 0));
    }

    #[test]
    fn a_count_that_went_backwards_is_kept_and_told() {
        let mut cell = Cell::default();
        cell.handle_read(80);
        cell.handle_read(3);
        assert_eq!(cell.view(), 80);
        assert!(!cell.is_settled());
        assert_eq!(cell.poll_tell().expect("a repair").known, 80);
        assert!(cell.is_settled());
    }

    #[test]
    fn a_reservation_taken_back_leaves_what_others_counted() {
        let mut cell = Cell::default();
        cell.reserve(10);
        cell.accept(2);
        cell.handle_read(7);
        assert_eq!(cell.view(), 19);
        cell.cancel(10);
        assert_eq!(cell.view(), 9);
        cell.reserve(3);
        cell.commit(3, 1);
        assert_eq!((cell.view(), cell.reserved()), (10, 0));
    }

    #[test]
    fn what_is_given_back_is_spent_next_and_counts_never_shrink() {
        let mut cell = Cell::default();
        cell.accept(10);
        cell.refund(4);
        let told = cell.poll_tell().expect("something new");
        assert_eq!((told.accepted, cell.view()), (6, 6), "it was not told yet");
        cell.handle_told(told.accepted, 20);
        cell.refund(5);
        assert_eq!((cell.view(), cell.poll_tell()), (15, None));
        cell.accept(3);
        assert_eq!((cell.view(), cell.poll_tell()), (18, None));
        cell.accept(3);
        assert_eq!((cell.view(), cell.unconfirmed()), (21, 1));
        assert_eq!(cell.poll_tell().expect("one more").accepted, 7);
        // Never more than this node has accepted.
        cell.refund(100);
        assert_eq!(cell.view(), 14);
        cell.refund(1);
        assert_eq!(cell.view(), 14);
        // Of what origin may have heard nothing is taken back there.
        cell.handle_not_told();
        cell.accept(8);
        cell.refund(8);
        assert!(cell.poll_tell().expect("said again").accepted >= 7);
    }

    #[test]
    fn a_region_publishes_what_rose_and_matters() {
        let mut cell = Cell::default();
        cell.handle_read(19);
        let told = cell.poll_publish(100, false);
        assert_eq!(told, None, "below a fifth of the limit");
        cell.handle_read(20);
        assert_eq!(cell.poll_publish(100, false), Some(20));
        cell.handle_import(20, 0);
        assert_eq!(cell.poll_publish(100, false), None, "it is known");
        let mut small = Cell::default();
        small.handle_read(1);
        assert_eq!(small.poll_publish(100, false), None);
        assert_eq!(small.poll_publish(100, true), Some(1), "others use it");
        small.handle_import(0, 40);
        assert!(small.is_used_elsewhere());
        assert_eq!(small.view(), 41, "what others use is never published on");
        small.handle_import(0, 30);
        assert_eq!(small.view(), 41);
    }
}
