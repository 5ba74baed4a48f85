//! Throw-away servers and faults for the tests of this workspace.
//!
//! | what | for |
//! |---|---|
//! | [`RedisServer`] | a real `redis-server` in its own directory, which can be killed, stopped, restarted with or without its data |
//! | [`Monitor`] | every command that a Redis carries out |
//! | [`TcpProxy`] | a link that can be slow, silent in either direction, cut or refused |
//! | [`Backend`] | an HTTP/1.1 server that counts its own concurrency |
//! | [`Client`] | a client that is cheap enough to be one of many |
//! | [`Load`] | requests at an even pace, and what one exact counter admits of them |
//! | [`Board`] | a recorder of metrics whose numbers can be read |
//! | [`ChildGuard`] | any child process, such as our own examples ([`example`]) |
//!
//! # Guarantees
//! * Everything listens on the loopback alone.
//! * Processes die with the value that started them, and also when the test process itself is killed.
//! * Nothing is skipped silently: what is not installed is named on stderr ([`Missing`]), and is a panic when
//!   `TIDEGATE_REQUIRE_SERVERS=1` is set, as `scripts/test` does.

mod backend;
mod background;
mod board;
mod child;
mod client;
mod example;
mod faketime;
mod load;
mod missing;
mod monitor;
mod output;
mod peaks;
mod port;
mod proxy;
mod redis;
mod resp;
mod scratch;

pub use self::backend::{Backend, BackendBuilder, BackendStats};
pub use self::board::Board;
pub use self::child::ChildGuard;
pub use self::client::Client;
pub use self::example::{example, example_path};
pub use self::load::{Load, Offered, since_1970};
pub use self::missing::Missing;
pub use self::monitor::Monitor;
pub use self::output::Output;
pub use self::port::free_port;
pub use self::proxy::{Direction, TcpProxy};
pub use self::redis::{Data, RedisBuilder, RedisServer};
pub use self::resp::Reply;

/// How long a server may take to start, stop or say something before the test fails.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
