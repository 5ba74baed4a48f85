//! Tests of the estimator: with a backend in a closed loop, and step by step.

mod bed;
mod closed_loop;
mod controller;
mod streams;
