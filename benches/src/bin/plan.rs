//! How long it takes a node to plan for its fleet: read the snapshot, estimate the limit, divide it, write the commit.
//!
//! ```text
//! cargo run --release -p tidegate-bench --bin plan
//! ```
//!
//! The nodes are the real ones, over the store's real steps in memory; their clocks are set by hand. What is timed is
//! a node's handling of an answer that holds a plan's token. The first plans of a fleet, in which everybody joins, are
//! in the maximum and not in the median.

use std::collections::VecDeque;
use std::time::Duration;
use tidegate::fleet::sim::{Config, Message, Node, Store};
use tidegate::time::Clock;
use tidegate::{Criticality, Lease};

const ROUNDS: u64 = 12;
/// Longer than a heartbeat with its jitter, so that every node has something to say in every round.
const ROUND: Duration = Duration::from_millis(800);
const EPOCH: u64 = 1;

struct Member {
    node: Node,
    incarnation: u64,
    leases: Vec<Lease>,
}

fn main() {
    println!("| nodes | plans | median ms | longest ms |");
    println!("|---:|---:|---:|---:|");
    for nodes in [100, 1_000, 10_000] {
        let mut took = plans(nodes);
        took.sort_unstable();
        let ms = |took: Option<&Duration>| took.map_or(f64::NAN, |took| took.as_secs_f64() * 1e3);
        println!(
            "| {nodes} | {} | {:.2} | {:.2} |",
            took.len(),
            ms(took.get(took.len() / 2)),
            ms(took.last())
        );
    }
}

/// How long each plan took, while every node of a fleet always has a few requests at work.
fn plans(nodes: u64) -> Vec<Duration> {
    let config = Config::parse("").expect("the defaults");
    let mut store = Store::new(&config);
    let mut fleet: Vec<Member> = (0..nodes)
        .map(|place| Member {
            node: Node::new(&format!("node-{place}"), place + 1, &config, 1, 0),
            incarnation: place + 1,
            leases: Vec::new(),
        })
        .collect();
    let mut took = Vec::new();
    let step = u64::try_from(ROUND.as_nanos()).expect("less than centuries") / nodes;
    let mut now = 0;
    for _ in 0..ROUNDS {
        for member in &mut fleet {
            now += step;
            member.node.set_clock(now);
            member.leases.drain(..).for_each(Lease::success);
            let acquired = (0..3).map_while(|_| member.node.try_acquire(Criticality::Default).ok());
            member.leases.extend(acquired);
            let messages = member.node.step(EPOCH);
            exchange(member, &mut store, messages, &mut took);
        }
    }
    took
}

/// Everything that is said arrives, but for pushes to others: their next beat tells them.
fn exchange(
    member: &mut Member,
    store: &mut Store,
    messages: Vec<Message>,
    took: &mut Vec<Duration>,
) {
    let clock = Clock::system();
    let mut messages = VecDeque::from(messages);
    while let Some(message) = messages.pop_front() {
        for (to, reply) in store.handle(member.incarnation, &message).messages {
            if to == member.incarnation {
                let began = clock.now();
                let next = member.node.handle(reply, EPOCH);
                if !next.is_empty() {
                    took.push(clock.now().since(began));
                }
                messages.extend(next);
            }
        }
    }
}
