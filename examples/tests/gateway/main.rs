//! The gateway is a proxy that can be trusted with a slot, under either framework.
//!
//! | file | what |
//! |---|---|
//! | `passing` | nothing of a connection passes; streams pass as they come |
//! | `slots` | a slot goes back when the backend is done, neither earlier nor never |
//! | `running` | starting, being looked at and stopping |

mod passing;
mod running;
mod slots;
#[path = "../support/mod.rs"]
mod support;

use crate::support::Gateway;

const FRAMEWORKS: [&str; 2] = ["axum", "actix"];

/// A gateway of each kind in front of `upstream`, with one slot.
fn each<'a>(upstream: &'a str, more: &'a [&'a str]) -> impl Iterator<Item = Gateway> + 'a {
    let one_slot = ["--estimate", "fixed:1"];
    FRAMEWORKS.into_iter().map(move |framework| {
        Gateway::ready(framework, upstream, one_slot.iter().chain(more).copied())
    })
}
