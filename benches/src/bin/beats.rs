//! How many beats a second of a large fleet one Redis takes, and what of a core they cost it.
//!
//! ```text
//! cargo run --release -p tidegate-bench --bin beats              # 10 000 nodes on one key
//! cargo run --release -p tidegate-bench --bin beats -- 1000
//! ```
//!
//! The nodes are the real ones, and so are the scripts and what they are sent; the nodes' clocks are set by hand, so that
//! the server always has something to do: `AHEAD` beats are sent before the first answer is read.
//! Plans are made and committed as they come due. What the server spends is what it says itself (`INFO cpu`), of its
//! main thread, plans and all. Grants are published, and nobody listens.

use redis::{Parser, Value};
use std::collections::VecDeque;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tidegate::fleet::sim::{Config, Message, Node, load_scripts};
use tidegate::time::Clock;
use tidegate::{Criticality, Lease};
use tidegate_test_support::RedisServer;

/// Beats that are under way.
const AHEAD: usize = 256;
/// Rounds of which the figures are; the first ones, in which everybody joins and is given a share, are not.
const ROUNDS: u32 = 12;
const JOINING: u32 = 6;
/// So often a node has its turn. By default 10 000 nodes beat every 600 ms, so that three fit a lease, which is more than a
/// core takes; with a ttl of 3.4 s or more every second. See `DistributedGuardBuilder::heartbeat`.
const PACE: Duration = Duration::from_millis(800);
const EPOCH: u64 = 11_400_714_819_323_198_485;
const KEY: &str = "beats";

/// What the fleet is, how many requests each node would like to have under way, and over how many connections they beat.
const FLEETS: [(&str, &str, usize, usize); 4] = [
    ("enough for all", "estimate=fixed:40000", 3, 1),
    (
        "the same, 1 000 connections",
        "estimate=fixed:40000",
        3,
        1_000,
    ),
    ("half of what all want", "estimate=fixed:20000", 4, 1),
    ("told nothing, full", "", 3, 1),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes = std::env::args()
        .nth(1)
        .map_or(Ok(10_000), |it| it.parse())?;
    println!(
        "| {nodes} nodes | beats | plans | beats/s | of a core meanwhile | of it at 10 000/s | bytes a beat, there and \
         back | a plan |\n|---|---:|---:|---:|---:|---:|---:|---:|"
    );
    for (name, settings, wanted, connections) in FLEETS {
        let Some(server) = RedisServer::start() else {
            return Ok(());
        };
        let config = Config::parse(&format!("{settings};empty=trust"))?;
        let mut fleet = Fleet::new(nodes, wanted, connections, config, &server)?;
        fleet.rounds(JOINING)?;
        let registered = server.cli(&["HLEN", &format!("tidegate:1:{{{KEY}}}")]);
        // A record and a name each, and three fields of the key.
        assert_eq!(registered.integer(), i64::try_from(2 * nodes + 3)?);
        fleet.counts = Counts::default();
        let clock = Clock::system();
        let (began, before) = (clock.now(), processor(&server));
        fleet.rounds(ROUNDS)?;
        let (took, spent) = (clock.now().since(began), processor(&server) - before);
        let Counts {
            beats,
            plans,
            beat_bytes,
            plan_bytes,
            plain,
        } = fleet.counts;
        println!(
            "| {name} | {beats} | {plans} | {:.0} | {:.2} | {:.2} | {} | {} |",
            f64::from(beats) / took.as_secs_f64(),
            spent / took.as_secs_f64(),
            spent / f64::from(beats) * 10_000.0,
            beat_bytes / u64::from(plain.max(1)),
            plan_bytes / u64::from(plans.max(1)),
        );
    }
    Ok(())
}

/// Seconds of a processor that the server's main thread has used.
fn processor(server: &RedisServer) -> f64 {
    let told = server.cli(&["INFO", "cpu"]).text();
    let seconds = |field: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|line| line.trim().parse::<f64>().ok())
            .expect("INFO tells it")
    };
    seconds("used_cpu_user_main_thread:") + seconds("used_cpu_sys_main_thread:")
}

#[derive(Default)]
struct Counts {
    beats: u32,
    plans: u32,
    /// Beats that were not asked for a plan.
    plain: u32,
    beat_bytes: u64,
    plan_bytes: u64,
}

struct Fleet {
    members: Vec<Member>,
    wanted: usize,
    config: Config,
    now: u64,
    sent: VecDeque<(usize, Message)>,
    connections: Vec<Connection>,
    counts: Counts,
}

struct Connection {
    writes: TcpStream,
    reads: BufReader<TcpStream>,
    parser: Parser,
}

impl Connection {
    fn new(server: &RedisServer) -> Result<Self, Box<dyn std::error::Error>> {
        let stream = TcpStream::connect(server.address())?;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            reads: BufReader::with_capacity(1 << 14, stream.try_clone()?),
            writes: stream,
            parser: Parser::new(),
        };
        connection.writes.write_all(b"HELLO 3\r\n")?;
        connection.read()?;
        Ok(connection)
    }

    fn read(&mut self) -> Result<Value, Box<dyn std::error::Error>> {
        let reads: &mut dyn Read = &mut self.reads;
        Ok(self.parser.parse_value(reads)?)
    }
}

struct Member {
    node: Node,
    leases: Vec<Lease>,
}

impl Fleet {
    fn new(
        nodes: usize,
        wanted: usize,
        connections: usize,
        config: Config,
        server: &RedisServer,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let mut random = fastrand::Rng::with_seed(7);
        let node = |place| {
            let incarnation = random.u64(1..);
            Member {
                node: Node::new(&format!("node-{place}"), incarnation, &config, 1, 0),
                leases: Vec::new(),
            }
        };
        let mut fleet = Self {
            members: (0..nodes).map(node).collect(),
            wanted,
            now: 0,
            sent: VecDeque::new(),
            connections: Vec::with_capacity(connections),
            counts: Counts::default(),
            config,
        };
        for _ in 0..connections {
            fleet.connections.push(Connection::new(server)?);
        }
        let first = &mut fleet.connections[0];
        first.writes.write_all(&load_scripts())?;
        first.read()?;
        first.read()?;
        Ok(fleet)
    }

    /// Every node has its turn, so many times.
    fn rounds(&mut self, rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
        let nodes = u64::try_from(self.members.len())?;
        let step = u64::try_from(PACE.as_nanos())? / nodes;
        for _ in 0..rounds {
            for place in 0..self.members.len() {
                self.now += step;
                let member = &mut self.members[place];
                member.node.set_clock(self.now);
                member.leases.drain(..).for_each(Lease::success);
                for _ in 0..self.wanted {
                    member
                        .leases
                        .extend(member.node.try_acquire(Criticality::Default));
                }
                let messages = member.node.step(EPOCH);
                self.send(place, messages)?;
                while self.sent.len() >= AHEAD {
                    self.hear()?;
                }
            }
        }
        while !self.sent.is_empty() {
            self.hear()?;
        }
        Ok(())
    }

    fn send(&mut self, place: usize, messages: Vec<Message>) -> std::io::Result<()> {
        for message in messages {
            let call = message.call(KEY, &self.config).expect("of a node");
            let connection = place % self.connections.len();
            self.connections[connection].writes.write_all(&call)?;
            self.sent.push_back((place, message));
        }
        Ok(())
    }

    /// Takes the answer to what was sent first.
    fn hear(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let (place, asked) = self.sent.pop_front().expect("something is under way");
        let connection = place % self.connections.len();
        let value = self.connections[connection].read()?;
        let answer = asked.answered(value).expect("of a node")?;
        let bytes = asked.bytes() + answer.bytes();
        if asked.is_commit() {
            self.counts.plans += 1;
            self.counts.plan_bytes += bytes;
        } else {
            self.counts.beats += 1;
            if answer.has_ticket() {
                self.counts.plan_bytes += bytes;
            } else {
                self.counts.plain += 1;
                self.counts.beat_bytes += bytes;
            }
        }
        let member = &mut self.members[place];
        member.node.set_clock(self.now);
        let next = member.node.handle(answer, EPOCH);
        self.send(place, next)?;
        Ok(())
    }
}
