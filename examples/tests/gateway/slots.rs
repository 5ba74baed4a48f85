//! A slot goes back when the backend is done, neither earlier nor never.

use crate::each;
use crate::support::{ByHand, header};
use std::io::Read;
use tidegate_test_support::{Backend, PATIENCE, free_port};

#[test]
fn an_upgraded_connection_keeps_its_slot_until_it_ends() {
    let backend = Backend::start();
    for gateway in each(&backend.url(), &[]) {
        let mut client = gateway.client();
        client.ask("/", "connection: Upgrade\r\nupgrade: websocket\r\n");
        let (status, headers) = client.head();
        assert_eq!(status, 101);
        assert_eq!(header(&headers, "upgrade"), Some("echo"));
        for word in [&b"ebb"[..], b"flood"] {
            client.write(word);
            assert_eq!(client.read(word.len()), word);
        }
        assert_eq!(backend.stats().in_flight, 1);
        assert_eq!(gateway.count("in_flight"), 1);
        assert_eq!(gateway.get("/").status, 503);
        drop(client);
        backend.wait_until(PATIENCE, |stats| stats.in_flight == 0);
        gateway.wait_until("the slot", |stats| stats["in_flight"] == 0);
        assert_eq!(gateway.get("/").status, 200);
    }
}

#[test]
fn who_finds_no_slot_waits_for_one_where_there_is_a_queue() {
    let backend = Backend::start();
    for gateway in each(&backend.url(), &["--queue", "20s"]) {
        backend.pause();
        let mut clients = [gateway.client(), gateway.client()];
        clients.iter_mut().for_each(|client| client.ask("/", ""));
        backend.wait_until(PATIENCE, |stats| stats.in_flight == 1);
        assert_eq!(gateway.count("in_flight"), 1);
        backend.resume();
        for client in &mut clients {
            assert_eq!(client.head().0, 200);
        }
    }
}

#[test]
fn a_slot_of_a_client_that_hangs_up_stays_in_use_until_the_backend_is_done() {
    let backend = Backend::start();
    for gateway in each(&backend.url(), &[]) {
        backend.pause();
        let mut client = gateway.client();
        client.ask("/", "");
        let seen = backend.wait_until(PATIENCE, |stats| stats.in_flight == 1);
        assert_eq!(seen.in_flight, 1);
        drop(client);
        gateway.wait_until("the hang-up", |stats| stats["hung_up"] == 1);
        assert_eq!(gateway.count("in_flight"), 1);
        assert_eq!(gateway.get("/").status, 503);
        backend.resume();
        gateway.wait_until("the slot", |stats| stats["in_flight"] == 0);
        assert_eq!(gateway.get("/").status, 200);
        assert_eq!(backend.stats().max_in_flight, 1);
    }
}

#[test]
fn a_client_that_hangs_up_in_the_middle_of_an_answer_is_replaced_to_its_end() {
    let backend = ByHand::listen();
    for gateway in each(&backend.url(), &[]) {
        let mut client = gateway.client();
        client.ask("/", "");
        let mut asked = backend.accept();
        asked.lines();
        asked.write("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nred");
        assert_eq!(client.head().0, 200);
        drop(client);
        gateway.wait_until("the hang-up", |stats| stats["hung_up"] == 1);
        assert_eq!(gateway.count("in_flight"), 1);
        asked.write("tea");
        gateway.wait_until("the slot", |stats| stats["in_flight"] == 0);
    }
}

#[test]
fn an_upload_that_breaks_off_keeps_its_slot_for_the_drain() {
    let backend = ByHand::listen();
    for gateway in each(&backend.url(), &[]) {
        let mut client = gateway.client();
        client.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf");
        let mut asked = backend.accept();
        asked.lines();
        assert_eq!(asked.read(4), b"half");
        drop(client);
        let mut rest = Vec::new();
        // Here the backend learns that nobody waits; how long it takes to stop is for the drain.
        let _ = asked.0.read_to_end(&mut rest);
        assert_eq!(gateway.count("in_flight"), 1);
        gateway.wait_until("the slot", |stats| stats["in_flight"] == 0);
    }
}

#[test]
fn who_waits_too_long_gets_504_and_the_slot_stays_until_the_backend_is_done() {
    let backend = Backend::start();
    for gateway in each(&backend.url(), &["--timeout", "50ms"]) {
        backend.pause();
        assert_eq!(gateway.get("/").status, 504);
        let stats = gateway.stats();
        assert_eq!(
            (&stats["in_flight"], &stats["overloads"]),
            (&1.into(), &1.into())
        );
        assert_eq!(gateway.get("/").status, 503);
        backend.resume();
        gateway.wait_until("the slot", |stats| stats["in_flight"] == 0);
    }
}

#[test]
fn the_guard_learns_what_answers_say_about_the_backend() {
    let backend = Backend::start();
    for gateway in each(&backend.url(), &[]) {
        let told = |path: &str, status| {
            assert_eq!(gateway.get(path).status, status);
            let stats = gateway.stats();
            ["served", "failed", "overloads"].map(|field| stats[field].as_u64().unwrap())
        };
        assert_eq!(told("/", 200), [1, 0, 0]);
        assert_eq!(told("/status/404", 404), [1, 0, 0]);
        assert_eq!(told("/status/500", 500), [1, 1, 0]);
        assert_eq!(told("/status/503", 503), [1, 1, 1]);
        assert_eq!(told("/status/429", 429), [1, 1, 2]);
    }
    let nobody = format!("http://127.0.0.1:{}", free_port());
    for gateway in each(&nobody, &[]) {
        assert_eq!(gateway.get("/").status, 502);
        assert_eq!(gateway.count("overloads"), 1);
        assert_eq!(gateway.count("unanswered"), 1);
    }
}
