//! The counting backend: it counts what is in flight, and counts down before its last byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tidegate_test_support::{Backend, PATIENCE};

struct Client(BufReader<TcpStream>);

impl Client {
    fn new(backend: &Backend) -> Self {
        let stream = TcpStream::connect(backend.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, request: &str) {
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn get(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
    }

    /// The status and the headers.
    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).unwrap(), 0, "cut: {head}");
        }
        head.to_lowercase()
    }

    fn body(&mut self, head: &str) -> String {
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map(|length| length.parse().unwrap())
            .unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    fn answer(&mut self) -> (String, String) {
        let head = self.head();
        let body = self.body(&head);
        (head, body)
    }
}

#[test]
fn the_most_at_once_is_counted_and_nobody_is_left_after_the_last_byte() {
    let backend = Backend::builder().capacity(2).start();
    backend.pause();
    let mut clients: Vec<_> = (0..5).map(|_| Client::new(&backend)).collect();
    for client in &mut clients {
        client.get("/");
    }
    let waiting = backend.wait_until(PATIENCE, |stats| stats.in_flight == 5);
    assert_eq!((waiting.in_flight, waiting.max_in_flight), (5, 5));

    backend.resume();
    for client in &mut clients {
        assert_eq!(client.answer().1, "ok");
    }
    assert_eq!(backend.stats().in_flight, 0);

    // One after the other on one connection, each finds itself alone.
    backend.reset_max();
    for _ in 0..100 {
        clients[0].get("/");
        clients[0].answer();
    }
    let stats = backend.stats();
    assert_eq!((stats.max_in_flight, stats.begun), (1, 105));
    clients[0].get("/stats");
    assert_eq!(
        clients[0].answer().1,
        "{\"in_flight\":0,\"max_in_flight\":1,\"begun\":105}\n"
    );
}

#[test]
fn a_request_whose_caller_is_gone_is_worked_on() {
    let backend = Backend::start();
    backend.pause();
    let mut client = Client::new(&backend);
    client.get("/");
    backend.wait_until(PATIENCE, |stats| stats.in_flight == 1);
    drop(client);
    let after = backend.wait_until(Duration::from_millis(50), |stats| stats.in_flight == 0);
    assert_eq!(after.in_flight, 1);
    backend.resume();
    let after = backend.wait_until(PATIENCE, |stats| stats.in_flight == 0);
    assert_eq!(after.in_flight, 0);
}

#[test]
fn a_stream_is_in_flight_until_its_last_chunk() {
    let backend = Backend::start();
    let mut client = Client::new(&backend);
    backend.pause();
    client.get("/stream/2");
    client.head();
    assert_eq!(backend.stats().in_flight, 1);
    backend.resume();
    let mut size = String::new();
    for _ in 0..2 {
        size.clear();
        client.0.read_line(&mut size).unwrap();
        assert_eq!(size.trim(), "400");
        client.0.read_exact(&mut [0; 1026]).unwrap();
    }
    assert_eq!(backend.stats().in_flight, 0);
}

#[test]
fn statuses_and_bodies_come_back_as_asked_for() {
    let backend = Backend::start();
    let mut client = Client::new(&backend);
    client.get("/status/503");
    assert!(client.answer().0.starts_with("http/1.1 503 "));
    client.send(
        "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    );
    assert_eq!(client.answer().1, "hi");
}

#[test]
fn an_upgraded_connection_is_in_flight_until_it_ends() {
    let backend = Backend::start();
    let mut client = Client::new(&backend);
    client.send("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
    assert!(client.head().starts_with("http/1.1 101 "));
    client.send("ping");
    let mut echo = [0; 4];
    client.0.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"ping");
    assert_eq!(backend.stats().in_flight, 1);
    client
        .0
        .get_mut()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    assert_eq!(client.0.read(&mut [0]).unwrap(), 0);
    assert_eq!(backend.stats().in_flight, 0);
}

#[test]
fn a_smaller_capacity_counts_from_the_next_request_on_and_a_larger_one_at_once() {
    let backend = Backend::builder()
        .capacity(2)
        .service_time(Duration::from_millis(50))
        .start();
    let mut clients: Vec<_> = (0..3).map(|_| Client::new(&backend)).collect();
    for (client, begun) in clients.iter_mut().zip(1..) {
        client.get("/");
        backend.wait_until(PATIENCE, |stats| stats.begun == begun);
    }
    // Two are served by now or will be next, in order of arrival; the third is not.
    backend.set_capacity(0);
    let after = backend.wait_until(Duration::from_millis(200), |stats| stats.in_flight == 0);
    assert!(after.in_flight >= 1, "{after:?}");
    // One leaves and comes back, one is new.
    backend.set_capacity(2);
    for client in &mut clients {
        assert_eq!(client.answer().1, "ok");
    }
    assert_eq!(backend.stats().in_flight, 0);
}
