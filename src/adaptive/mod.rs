//! Limits found from latency: algorithms over windows of samples, and the guard of a single process.
//!
//! Samples are pooled into windows; a window that is long enough and full enough is closed and its *mean* goes to a
//! [`LimitAlgorithm`], which answers a new limit. Algorithms are pure: no clock, no randomness, no lock.
//!
//! # Guarantees
//! * Failures are neither samples nor signs of overload: they never enter a baseline.
//! * A baseline is a minimum of window means, never of single samples: one lucky sample cannot collapse the limit.
//! * Utilisation is judged against the ceiling in force, so that an estimator whose share is smaller than its own
//!   opinion does not freeze.

mod aimd;
mod algorithm;
mod baseline;
#[cfg(all(test, not(tidegate_loom)))]
mod closed_loop;
mod fixed;
mod gradient2;
mod guard;
mod limits;
mod pool;
mod probe;
mod vegas;
mod window;

pub use self::aimd::Aimd;
pub use self::algorithm::Algorithm;
pub use self::fixed::Fixed;
pub use self::gradient2::Gradient2;
pub use self::guard::{LocalGuard, LocalGuardBuilder, LocalStats};
pub use self::limits::Limits;
pub use self::vegas::Vegas;
pub(crate) use self::window::{Estimator, WindowSetup};
pub use self::window::{LimitAlgorithm, Window};
