//! A request's slot on its way: request, response future, response body, and whoever holds on to it.
//!
//! ```text
//!  guard --Lease--> Carrier (the response's own part: future, then body) --> back at the body's end
//!                      |
//!                      '-- Slot, cloned into the request's extensions; owns nothing
//!                             |
//!                             '-- hold() --> Hold: an owner like the Carrier, for work that outlives the response
//! ```
//!
//! Every adapter carries a `Carrier` and tells it what it saw (`answered`, `trailers`, `ended`, `broke`); what
//! follows from that is decided here, once for all frameworks.
//!
//! # Guarantees
//! * **I4 Exactly once**: owners are counted under one lock next to the lease. The owner that brings the count to
//!   zero takes the lease out, and nobody becomes an owner after that: a `hold()` that races with the end of the
//!   response either prolongs the lease or gets `None`.
//! * The first outcome counts, whoever tells it.
//! * A [`Slot`] costs no allocation of its own: what owners share is recycled per thread. Without a `Slot` nothing
//!   is shared and the lease lies in the carrier.

mod carrier;
mod handle;
mod on_full;
mod shared;
mod watch;

pub use self::handle::{Admission, Hold, Slot};
pub use self::on_full::OnFull;

// For adapters alone: they may change in any release.
#[doc(hidden)]
pub use self::carrier::{Answered, Carrier, Head};
#[doc(hidden)]
pub use self::watch::Watch;
