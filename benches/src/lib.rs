//! What tidegate costs: medians of interleaved slices, printed as ratios to a floor, to a bare service, to a peer.
//!
//! Nothing here fails when a figure is bad: a machine that is busy gives bad figures. Bars are printed beside them.

pub mod actix_app;
pub mod axum_router;
pub mod clocks;
pub mod deciding;
pub mod permit;
pub mod sections;
pub mod slices;
pub mod table;
pub mod tower_service;
pub mod warm;
pub mod work;

pub use self::clocks::Clocks;
pub use self::slices::Candidate;
