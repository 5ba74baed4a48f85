//! Where a request that passed is counted: who settles it later has to know what there is to give back, and where.

use crate::leased::lease::Lease;
use crate::rule::Moment;

#[derive(Debug)]
pub(crate) enum Booked {
    /// Drawn from what was in hand, of each policy.
    InHand(Vec<Lease>),
    /// Without the store, at a moment on its clock as it is known here.
    Without(Moment),
    /// Nothing was booked, nor let pass.
    Nothing,
}
