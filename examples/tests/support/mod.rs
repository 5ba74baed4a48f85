//! Gateways as child processes, clients that can be made to vanish, and a backend of which every byte is in hand.
#![allow(dead_code, reason = "each test binary uses its part")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use tidegate_test_support::{ChildGuard, PATIENCE, example};

/// Between two looks at something that is awaited.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) process: ChildGuard,
    pub(crate) address: String,
}

impl Gateway {
    /// Starts one on a free port.
    pub(crate) fn start<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let arguments = ["--listen", "127.0.0.1:0"].into_iter().chain(arguments);
        let process = example("gateway", arguments);
        let line = process.expect_line("listening on ");
        let address = line.split("http://").last().unwrap().to_owned();
        Self { process, address }
    }

    /// Starts one in front of `upstream`, alone in its fleet, and waits until it has slots.
    pub(crate) fn ready<'a>(
        framework: &'a str,
        upstream: &'a str,
        more: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let fixed = ["--framework", framework, "--upstream", upstream];
        let gateway = Self::start(fixed.into_iter().chain(more));
        gateway.process.expect_line("ready: ");
        gateway
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address)
    }

    /// Status, headers and body of a GET on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.client().get(path)
    }

    pub(crate) fn stats(&self) -> Value {
        let answer = self.get("/stats");
        assert_eq!(answer.status, 200);
        serde_json::from_str(&answer.text()).unwrap()
    }

    pub(crate) fn count(&self, field: &str) -> u64 {
        self.stats()[field].as_u64().unwrap()
    }

    /// Looks at the statistics until they are as `wanted`.
    pub(crate) fn wait_until(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        eventually(|| {
            last = self.stats();
            wanted(&last)
        })
        .unwrap_or_else(|| panic!("{what} did not come: {last:#}"));
        last
    }
}

/// Asks until it is so; `None` if it is not by the end of all patience.
pub(crate) fn eventually(mut so: impl FnMut() -> bool) -> Option<()> {
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if so() {
            return Some(());
        }
        std::thread::park_timeout(PAUSE);
    }
    None
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case, as `name: value`.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// The first value of a header among lines in lower case.
pub(crate) fn header<'a>(headers: &'a [String], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// One connection, spoken to byte by byte. Dropping it hangs up.
pub(crate) struct Client(pub(crate) BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a request without a body. `headers` are lines, each with its end.
    pub(crate) fn ask(&mut self, path: &str, headers: &str) {
        self.write(format!(
            "GET {path} HTTP/1.1\r\nhost: shop.example\r\n{headers}\r\n"
        ));
    }

    pub(crate) fn get(mut self, path: &str) -> Answer {
        self.ask(path, "connection: close\r\n");
        self.answer()
    }

    /// The rest of the answer, on a connection that is closed after it or has told its length.
    pub(crate) fn answer(&mut self) -> Answer {
        let (status, headers) = self.head();
        let length = header(&headers, "content-length").map(|it| it.parse().unwrap());
        let body = match length {
            Some(length) => self.read(length),
            None => {
                let mut body = Vec::new();
                self.0.read_to_end(&mut body).unwrap();
                body
            }
        };
        Answer {
            status,
            headers,
            body,
        }
    }

    /// Status and headers.
    pub(crate) fn head(&mut self) -> (u16, Vec<String>) {
        let (first, headers) = self.lines();
        (first.split(' ').nth(1).unwrap().parse().unwrap(), headers)
    }

    /// The first line, and the headers in lower case.
    pub(crate) fn lines(&mut self) -> (String, Vec<String>) {
        let first = self.line();
        let mut headers = Vec::new();
        loop {
            match self.line() {
                end if end.is_empty() => return (first, headers),
                header => headers.push(header.to_lowercase()),
            }
        }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }
}

/// A backend that does what the test tells it, one connection at a time.
pub(crate) struct ByHand(TcpListener);

impl ByHand {
    pub(crate) fn listen() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// The next connection that the gateway makes.
    pub(crate) fn accept(&self) -> Client {
        Client::over(self.0.accept().unwrap().0)
    }
}
