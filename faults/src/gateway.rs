//! A gateway as a process: started, asked and stopped.

use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tidegate_test_support::{ChildGuard, example};

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Its process.
    pub process: ChildGuard,
    address: SocketAddr,
}

/// A gateway that is asked and stands still answers nobody.
const PATIENCE: Duration = Duration::from_millis(500);

impl Gateway {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let arguments = ["--listen", "127.0.0.1:0"].into_iter().chain(arguments);
        let process = example("gateway", arguments);
        let line = process.expect_line("listening on ");
        let address = line.split("http://").last().unwrap_or_default();
        let address = address.parse().expect("the line ends with the address");
        Self { process, address }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A number it tells about itself; `None` if it does not answer.
    #[must_use]
    pub fn count(&self, field: &str) -> Option<u64> {
        self.stats().ok()?[field].as_u64()
    }

    fn stats(&self) -> io::Result<Value> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /stats HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        Ok(serde_json::from_str(body)?)
    }
}
