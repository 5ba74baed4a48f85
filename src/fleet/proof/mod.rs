//! The promises, for every order of events: the production functions under a model checker.

mod bounds;
mod message;
mod model;
mod normal;
pub(crate) mod number;
mod tell;
mod tests;
mod world;
