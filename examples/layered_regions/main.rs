//! One limit over two regions with three processes each: what every process admits, second by second.
//!
//! ```text
//! cargo run --release --example layered_regions
//! ```
//!
//! Starts what it needs, which is `redis-server`: an origin in each region and a global store, 80 ms away from both. Each
//! region alone stays below the limit of 1000 in ten seconds; together they ask for 1.5 times as much. At first only eu
//! is asked. Ends by itself after 35 seconds.

mod node;

use std::process::Command;
use std::time::Duration;
use tidegate_test_support::{ChildGuard, RedisServer, TcpProxy};

/// Admitted in ten seconds.
const LIMIT: u32 = 1_000;
/// Asked for by each process each second.
const LOAD: u32 = 25;
const REGIONS: [&str; 2] = ["eu", "us"];
const SECONDS: usize = 35;
/// When us is asked for the first time.
const SECOND_REGION: usize = 8;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => parent(),
        [word, region, origin, global, wait] if word == "node" => {
            node::run(region, origin, global, wait.parse().expect("seconds"));
        }
        _ => eprintln!("it takes no arguments"),
    }
}

fn parent() {
    let servers = [(); 3].map(|()| RedisServer::start());
    let [Some(eu), Some(us), Some(global)] = servers else {
        return;
    };
    let far = TcpProxy::start(global.address());
    far.delay(Duration::from_millis(40));
    let far = global.url_through(far.address());
    let start = |region: &str, origin: &RedisServer| {
        let wait = if region == "us" { SECOND_REGION } else { 0 };
        let mut command = Command::new(std::env::current_exe().expect("a program has a path"));
        command.args(["node", region, &origin.url(), &far, &wait.to_string()]);
        ChildGuard::spawn(&command)
    };
    let regions = [eu, us];
    let nodes: Vec<ChildGuard> = REGIONS
        .into_iter()
        .zip(&regions)
        .flat_map(|(region, origin)| (0..3).map(move |_| (region, origin)))
        .map(|(region, origin)| start(region, origin))
        .collect();

    println!(
        "six processes, each asked {LOAD} times a second; {LIMIT} in ten seconds for all of them together"
    );
    println!(
        "second   admitted in eu      in us               all   last 10 s   left, as eu sees it"
    );
    let mut admitted: Vec<u32> = Vec::new();
    for second in 0..SECONDS {
        // Each process says what it has admitted in this second.
        let lines = nodes
            .iter()
            .map(|node| node.expect_line(&format!("second {second}:")));
        let said: Vec<Vec<u32>> = lines.map(|line| numbers(&line)).collect();
        let each: Vec<u32> = said.iter().map(|said| said[1]).collect();
        let all: u32 = each.iter().sum();
        admitted.push(all);
        let window: u32 = admitted.iter().rev().take(10).sum();
        let region = |nodes: &[u32]| format!("{:4} {:4} {:4}", nodes[0], nodes[1], nodes[2]);
        println!(
            "{second:6}   {}     {}     {all:6} {window:11} {:9}",
            region(&each[..3]),
            region(&each[3..]),
            said[0][2],
        );
    }
}

/// The numbers of a line.
fn numbers(line: &str) -> Vec<u32> {
    line.split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect()
}
