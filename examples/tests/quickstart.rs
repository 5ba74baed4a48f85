//! The quickstart does what it prints: 429 beyond the quota, 503 beyond the shares, and slots held to the end of
//! slow answers, streams and WebSockets, then given back.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use tidegate_test_support::{ChildGuard, PATIENCE, example};

struct Quickstart {
    process: ChildGuard,
    nodes: Vec<String>,
}

impl Quickstart {
    fn start() -> Self {
        let process = example("quickstart", ["127.0.0.1:0", "127.0.0.1:0"]);
        let line = process.expect_line("listening on ");
        let nodes = line
            .split(' ')
            .filter_map(|word| word.strip_prefix("http://"))
            .map(str::to_owned)
            .collect();
        Self { process, nodes }
    }

    fn stats(&self) -> Vec<Value> {
        let (status, body) = Client::connect(&self.nodes[1]).get("/stats");
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    }

    /// The sum of a number over both nodes.
    fn sum(&self, field: &str) -> u64 {
        self.stats()
            .iter()
            .map(|node| node[field].as_u64().unwrap())
            .sum()
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, path: &str, headers: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_lowercase()
    }

    /// Status and headers.
    fn head(&mut self) -> (u16, Vec<String>) {
        let status = self.line().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            match self.line() {
                end if end.is_empty() => return (status, headers),
                header => headers.push(header),
            }
        }
    }

    fn get(mut self, path: &str) -> (u16, String) {
        self.send(path, "connection: close\r\n");
        let (status, _) = self.head();
        let mut body = String::new();
        self.0.read_to_string(&mut body).unwrap();
        (status, body)
    }
}

#[test]
fn a_client_above_its_quota_is_told_when_to_come_back() {
    let quickstart = Quickstart::start();
    let mut client = Client::connect(&quickstart.nodes[0]);
    let denial = (0..1000).find_map(|_| {
        client.send("/", "");
        let (status, headers) = client.head();
        let length: usize = headers
            .iter()
            .find_map(|header| header.strip_prefix("content-length: "))
            .unwrap()
            .parse()
            .unwrap();
        client.0.read_exact(&mut vec![0; length]).unwrap();
        (status == 429).then_some(headers)
    });
    let headers = denial.expect("a thousand requests in a row are more than 20 a second");
    assert!(headers.contains(&"retry-after: 1".to_owned()));
}

#[test]
fn no_more_than_eight_are_in_flight_on_both_nodes_together() {
    let quickstart = Quickstart::start();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let clients: Vec<_> = (0..24)
            .map(|number| {
                let node = &quickstart.nodes[number % 2];
                scope.spawn(|| Client::connect(node).get("/slow").0)
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    let served = statuses.iter().filter(|status| **status == 200).count();
    let shed = statuses.iter().filter(|status| **status == 503).count();
    // Each takes a second: all are decided on before the first is done.
    assert!((1..=8).contains(&served), "{statuses:?}");
    assert_eq!(served + shed, 24, "{statuses:?}");
    assert_eq!(quickstart.sum("in_flight"), 0);
    assert_eq!(quickstart.sum("served"), served as u64);
    assert!(quickstart.sum("share") <= 8);
}

#[test]
fn a_stream_and_a_socket_keep_their_slots_until_they_end() {
    let quickstart = Quickstart::start();

    let mut stream = Client::connect(&quickstart.nodes[0]);
    stream.send("/stream", "");
    assert_eq!(stream.head().0, 200);
    assert_eq!(quickstart.sum("in_flight"), 1);

    let mut socket = Client::connect(&quickstart.nodes[1]);
    socket.send(
        "/ws",
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    assert_eq!(socket.head().0, 101);
    // A masked text of two letters, which comes back without a mask.
    let masked = [0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
    socket.0.get_mut().write_all(&masked).unwrap();
    let mut echo = [0; 4];
    socket.0.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"\x81\x02hi");
    assert_eq!(quickstart.sum("in_flight"), 2);

    // Half read, and gone.
    drop(stream);
    drop(socket);
    let idle = (0..5000).any(|_| quickstart.sum("in_flight") == 0);
    assert!(idle, "{:?}", quickstart.stats());
}

#[test]
fn it_drains_and_leaves_when_interrupted() {
    let mut quickstart = Quickstart::start();
    quickstart.process.interrupt();
    assert!(quickstart.process.wait(PATIENCE).unwrap().success());
}
