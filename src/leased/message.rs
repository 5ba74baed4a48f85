//! What a process and the store say to each other about a key: one question at a time, one answer.
//!
//! A question may be lost, repeated, or come late; so may its answer. None of that counts anything twice or lets
//! anybody have more:
//!
//! * Questions of a process (a *holder*) are numbered. The store remembers the last one of each holder and key, and
//!   leaves older ones and repeated ones alone: for as long as anything of the key counts, and at least for four times
//!   what a process waits for an answer. One that comes still later may be booked again, which loses units until they
//!   come back by themselves, and gains none.
//! * A question says which answer was the last to be heard. What was granted since was never used, and goes back.
//! * What is given back and what is owed is told anew until the answer is heard; the store books the difference. It may be
//!   less that is owed than was told before: the rest was not used, and goes back.
//! * Nobody gives back more than the store has booked for it, so a store that forgot gains nothing.

use crate::key::Key;
use crate::store::redis::rates::StoreMoment;

/// A question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ask {
    pub(crate) key: Key,
    pub(crate) holder: u64,
    pub(crate) number: u64,
    /// The last question whose answer was heard, or one that no answer before is waited for any more.
    pub(crate) heard: u64,
    /// Units that callers wait for, all together.
    pub(crate) need: u32,
    /// The least that would help one of them.
    pub(crate) least: u32,
    /// Under each policy.
    pub(crate) lines: Box<[AskLine]>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct AskLine {
    /// Units that go back, all together since `heard`.
    pub(crate) give: u32,
    /// Units to be booked whether they fit or not, all together since `heard`.
    pub(crate) owe: u64,
    /// Units beyond `need` that are welcome, if there is plenty.
    pub(crate) spare: u32,
}

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Told {
    pub(crate) now: StoreMoment,
    /// The words of all policies' rules, one behind the other, before anything was granted.
    pub(crate) states: Box<[u64]>,
    /// Under each policy.
    pub(crate) granted: Box<[u32]>,
}
