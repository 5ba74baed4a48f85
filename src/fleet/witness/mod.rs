//! What the promises are measured against: the processes as the backend sees them, and a ledger of what is allowed.
//!
//! Shared by the random walks and the model: both run the production functions and ask here whether they kept their
//! word.

pub(crate) mod ledger;
mod process;

pub(crate) use self::ledger::Ledger;
pub(crate) use self::process::Process;
