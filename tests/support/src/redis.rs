//! A real Redis of the test's own.

use crate::PATIENCE;
use crate::child::ChildGuard;
use crate::faketime;
use crate::missing::Missing;
use crate::output::Output;
use crate::port::free_port;
use crate::resp::{self, Reply};
use crate::scratch::Scratch;
use std::io::{self, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A running `redis-server` on a free loopback port, in a directory of its own. Without persistence unless asked.
///
/// # Examples
/// ```
/// use tidegate_test_support::{Data, RedisServer};
///
/// let Some(mut redis) = RedisServer::start() else {
///     return; // Not installed; stderr says so.
/// };
/// redis.cli(&["SET", "tide", "high"]);
/// redis.kill();
/// redis.restart(Data::Lose);
/// assert_eq!(redis.cli(&["EXISTS", "tide"]).integer(), 0);
/// ```
#[derive(Debug)]
pub struct RedisServer {
    setup: RedisBuilder,
    // Dropped before the directory it works in.
    process: ChildGuard,
    directory: Scratch,
    port: u16,
}

/// What a restarted server finds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Data {
    /// What it had written to its files: everything, if it was started with [`RedisBuilder::persistent`].
    Keep,
    /// Nothing.
    Lose,
}

/// How a [`RedisServer`] is to be started.
#[derive(Clone, Debug, Default)]
pub struct RedisBuilder {
    password: Option<String>,
    persistent: bool,
    own_clock: bool,
    arguments: Vec<String>,
}

impl RedisServer {
    /// Starts a server without password or persistence. `None`, and a line on stderr, if Redis is not installed.
    ///
    /// # Panics
    /// If the server does not start, or is not installed and `TIDEGATE_REQUIRE_SERVERS=1`.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::builder().start()
    }

    /// Options first.
    #[must_use]
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// The port it listens on; it stays the same over restarts.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// `redis://..`, with the password if there is one.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_through(self.address())
    }

    /// As [`Self::url`], but at `address`: a [`TcpProxy`](crate::TcpProxy) in front of it.
    #[must_use]
    pub fn url_through(&self, address: SocketAddr) -> String {
        match &self.setup.password {
            Some(password) => format!("redis://:{password}@{address}/"),
            None => format!("redis://{address}/"),
        }
    }

    /// What the server logs.
    #[must_use]
    pub const fn log(&self) -> &Output {
        self.process.output()
    }

    /// Kills the server (SIGKILL), and returns when it is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops the server's process (SIGSTOP): connections stay open and nothing answers.
    pub fn stop_process(&self) {
        self.process.stop();
    }

    /// Lets the stopped process go on (SIGCONT).
    pub fn cont(&self) {
        self.process.cont();
    }

    /// Kills the server if it still runs, and starts it again on its port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self, data: Data) {
        self.process.kill();
        if data == Data::Lose {
            self.directory.clear();
        }
        self.process = (0..50)
            .find_map(|_| self.setup.launch(self.port, &self.directory).ok())
            .expect("the port is below those of outgoing connections, so nobody keeps it");
    }

    /// From now on the server's wall clock is so many seconds ahead of the machine's.
    ///
    /// # Panics
    /// If it has none of its own.
    pub fn set_clock(&self, ahead: i64) {
        assert!(self.setup.own_clock, "started without a clock of its own");
        faketime::set(&self.directory.path().join(CLOCK), ahead);
    }

    /// A server whose clock can be stepped; `None` without what that takes, which is said.
    ///
    /// # Panics
    /// If it is required.
    #[must_use]
    pub fn start_with_own_clock() -> Option<Self> {
        match RedisBuilder::lacks_for_own_clock() {
            Some(missing) => {
                missing.skip();
                None
            }
            None => Self::builder().own_clock().start(),
        }
    }

    /// What the server's wall clock shows, since 1970.
    ///
    /// # Panics
    /// If the server does not tell.
    #[must_use]
    pub fn clock(&self) -> Duration {
        let Reply::Array(told) = self.cli(&["TIME"]) else {
            panic!("TIME is two numbers");
        };
        let number = |at: usize| told[at].text().parse().expect("TIME is two numbers");
        Duration::from_secs(number(0)) + Duration::from_micros(number(1))
    }

    /// Asks the server over a connection of its own.
    ///
    /// # Panics
    /// If the server cannot be reached or does not speak Redis. A refusal is a [`Reply::Error`].
    pub fn cli(&self, arguments: &[&str]) -> Reply {
        self.ask(arguments).unwrap_or_else(|source| {
            panic!(
                "redis-server on port {} did not answer: {source}",
                self.port
            )
        })
    }

    fn ask(&self, arguments: &[&str]) -> io::Result<Reply> {
        let stream = TcpStream::connect_timeout(&self.address(), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut read = BufReader::new(&stream);
        if let Some(password) = &self.setup.password {
            resp::send(&mut &stream, &["AUTH", password])?;
            resp::receive(&mut read)?;
        }
        resp::send(&mut &stream, arguments)?;
        resp::receive(&mut read)
    }
}

impl RedisBuilder {
    /// What servers with clocks of their own take and is not here: libfaketime.
    #[must_use]
    pub fn lacks_for_own_clock() -> Option<Missing> {
        faketime::library().is_none().then(Missing::faketime)
    }

    /// A wall clock of its own, which [`RedisServer::set_clock`] steps. Time goes by as without it.
    #[must_use]
    pub const fn own_clock(mut self) -> Self {
        self.own_clock = true;
        self
    }

    /// Clients must give this password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Every write is in the append-only file before it is answered, so that [`Data::Keep`] keeps it.
    #[must_use]
    pub const fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// A read-only copy of `master`; [`Self::start`] returns when the first copy is complete.
    #[must_use]
    pub fn replica_of(self, master: &RedisServer) -> Self {
        self.replica_through(master, master.address())
    }

    /// As [`Self::replica_of`], with `master` at `address`: a [`TcpProxy`](crate::TcpProxy) in front of it, which can
    /// let the copy fall behind.
    #[must_use]
    pub fn replica_through(mut self, master: &RedisServer, address: SocketAddr) -> Self {
        if let Some(password) = &master.setup.password {
            self = self.arguments(["--masterauth", password]);
        }
        let at = format!("{} {}", address.ip(), address.port());
        self.arguments(["--replicaof", &at])
    }

    /// Further arguments of `redis-server`.
    #[must_use]
    pub fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Starts the server. `None`, and a line on stderr, if Redis is not installed.
    ///
    /// # Panics
    /// If the server does not start, or is not installed and `TIDEGATE_REQUIRE_SERVERS=1`.
    #[must_use]
    pub fn start(self) -> Option<RedisServer> {
        if !is_installed() {
            Missing::redis().skip();
            return None;
        }
        let directory = Scratch::new("redis");
        let mut complaint = String::new();
        for _ in 0..20 {
            let port = free_port();
            match self.launch(port, &directory) {
                Ok(process) => {
                    return Some(RedisServer {
                        setup: self,
                        process,
                        directory,
                        port,
                    });
                }
                Err(log) if log.contains("Address already in use") => complaint = log,
                Err(log) => panic!("redis-server did not start:\n{log}"),
            }
        }
        panic!("redis-server found no free port:\n{complaint}");
    }

    /// Starts a server on `port`; what it logged, if it does not come up.
    fn launch(&self, port: u16, directory: &Scratch) -> Result<ChildGuard, String> {
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.to_string()])
            .args(["--bind", "127.0.0.1"])
            .args(["--save", ""])
            // Else a replica waits five seconds for others to join it.
            .args(["--repl-diskless-sync-delay", "0"])
            .args(["--dir", &directory.path().to_string_lossy()]);
        if self.persistent {
            // "no" leaves the flush to the kernel, which a killed process does not take with it.
            command.args(["--appendonly", "yes", "--appendfsync", "no"]);
        }
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        command.args(&self.arguments);
        if self.own_clock {
            let library = faketime::library().expect("who asks for a clock knows there can be one");
            faketime::preload(&mut command, &library, &directory.path().join(CLOCK));
        }
        let process = ChildGuard::spawn_in(&command, directory);
        let sign = if self.is_replica() {
            "MASTER <-> REPLICA sync: Finished with success"
        } else {
            "Ready to accept connections"
        };
        match process.output().wait_for(sign, PATIENCE) {
            Some(_) => Ok(process),
            None => Err(process.output().text()),
        }
    }

    fn is_replica(&self) -> bool {
        self.arguments.iter().any(|word| word == "--replicaof")
    }
}

/// What a server's own clock shows, in its directory.
const CLOCK: &str = "clock";

fn is_installed() -> bool {
    Command::new("redis-server")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
