//! The gateway is a proxy that can be trusted with a slot: nothing of a connection passes, streams pass as they come,
//! sockets stay open, and a slot goes back when the backend is done, neither earlier nor never.

mod support;

use crate::support::{ByHand, Client, Gateway, eventually, header};
use std::io::Read;
use std::time::Duration;
use tidegate_test_support::{Backend, Data, PATIENCE, RedisServer, example, free_port};

const FRAMEWORKS: [&str; 2] = ["axum", "actix"];

/// A gateway of each kind in front of `upstream`, with one slot.
fn each<'a>(upstream: &'a str, more: &'a [&'a str]) -> impl Iterator<Item = Gateway> + 'a {
    let one_slot = ["--estimate", "fixed:1"];
    FRAMEWORKS.into_iter().map(move |framework| {
        Gateway::ready(framework, upstream, one_slot.iter().chain(more).copied())
    })
}

#[test]
fn what_is_meant_for_one_connection_does_not_pass() {
    let backend = ByHand::listen();
    for gateway in each(&format!("{}/base/", backend.url()), &[]) {
        let mut client = gateway.client();
        client.ask(
            "/path?q=1",
            "connection: keep-alive, X-Private , close\r\nx-private: 1\r\nkeep-alive: timeout=5\r\n\
             proxy-authorization: secret\r\nproxy-connection: keep-alive\r\nte: trailers\r\ntrailer: x\r\n\
             upgrade: h2c\r\nx-forwarded-for: 203.0.113.7\r\nx-forwarded-host: forged\r\nx-kept: yes\r\n",
        );
        let mut asked = backend.accept();
        let (first, headers) = asked.lines();
        assert_eq!(first, "GET /base/path?q=1 HTTP/1.1");
        for gone in [
            "connection",
            "x-private",
            "keep-alive",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "trailer",
            "upgrade",
        ] {
            assert_eq!(header(&headers, gone), None, "{headers:?}");
        }
        assert_eq!(header(&headers, "x-kept"), Some("yes"));
        assert_eq!(
            header(&headers, "host"),
            backend.url().strip_prefix("http://")
        );
        assert_eq!(header(&headers, "x-forwarded-host"), Some("shop.example"));
        assert_eq!(header(&headers, "x-forwarded-proto"), Some("http"));
        let forwarded: Vec<_> = headers
            .iter()
            .filter_map(|line| line.strip_prefix("x-forwarded-for: "))
            .collect();
        assert_eq!(forwarded, ["203.0.113.7", "127.0.0.1"]);

        asked.write(
            "HTTP/1.1 200 OK\r\nconnection: x-secret\r\nx-secret: 1\r\nkeep-alive: timeout=5\r\n\
             proxy-authenticate: basic\r\nx-kept: yes\r\ncontent-length: 2\r\n\r\nok",
        );
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        for gone in ["x-secret", "keep-alive", "proxy-authenticate"] {
            assert_eq!(answer.header(gone), None, "{:?}", answer.headers);
        }
        assert_eq!(answer.header("x-kept"), Some("yes"));
    }
}

#[test]
fn bodies_pass_as_they_come_in_both_directions() {
    let backend = ByHand::listen();
    for gateway in each(&backend.url(), &[]) {
        let mut client = gateway.client();
        client
            .write("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
        let mut asked = backend.accept();
        asked.lines();
        assert_eq!(asked.read(8), b"3\r\none\r\n");
        client.write("3\r\ntwo\r\n0\r\n\r\n");
        assert_eq!(asked.read(13), b"3\r\ntwo\r\n0\r\n\r\n");

        asked.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nred\r\n");
        assert_eq!(client.head().0, 200);
        assert_eq!(client.read(8), b"3\r\nred\r\n");
        assert_eq!(gateway.count("in_flight"), 1);
        asked.write("4\r\nblue\r\n0\r\n\r\n");
        assert_eq!(client.read(14), b"4\r\nblue\r\n0\r\n\r\n");
        gateway.wait_until("the slot", |stats| stats["in_flight"] == 0);
    }
}

#[test]
fn an_answer_that_breaks_off_does_so_for_the_client_too() {
    let backend = ByHand::listen();
    for gateway in each(&backend.url(), &[]) {
        let mut client = gateway.client();
        client.ask("/", "");
        let mut asked = backend.accept();
        asked.lines();
        asked.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nred\r\n");
        assert_eq!(client.head().0, 200);
        drop(asked);
        let mut rest = Vec::new();
        // An error is as good as an early end.
        let _ = client.0.read_to_end(&mut rest);
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(!rest.contains("0\r\n\r\n"), "looks complete: {rest:?}");
        gateway.wait_until("the slot", |stats| stats["in_flight"] == 0);
    }
}

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

#[test]
fn a_client_above_its_quota_gets_429_and_is_told_when_to_come_back() {
    let backend = Backend::start();
    for gateway in each(&backend.url(), &["--quota", "2/h"]) {
        for remaining in ["r=1", "r=0"] {
            let answer = gateway.get("/");
            assert_eq!(answer.status, 200);
            let told = answer.header("ratelimit").unwrap();
            assert!(told.contains(remaining), "{told}");
        }
        let denied = gateway.get("/");
        assert_eq!(denied.status, 429);
        let wait: u32 = denied.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=1800).contains(&wait), "{wait}");
        // Those who look are not counted.
        assert_eq!(gateway.count("denied_by_quota"), 1);
    }
}

#[test]
fn without_a_store_requests_are_refused_at_once_and_served_when_it_comes() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    redis.kill();
    let backend = Backend::start();
    for framework in FRAMEWORKS {
        let gateway = Gateway::start([
            "--framework",
            framework,
            "--upstream",
            &backend.url(),
            "--store",
            &redis.url(),
            "--heartbeat",
            "50ms",
            "--ttl",
            "200ms",
            "--drain",
            "100ms",
        ]);
        gateway
            .process
            .expect_line("store trouble: the Redis cannot be reached");
        let refused = gateway.get("/");
        assert_eq!(refused.status, 503);
        let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3).contains(&wait), "{wait}");
        assert_eq!(gateway.stats()["sheds"]["cold"], 1);

        redis.restart(Data::Lose);
        gateway.process.expect_line("ready: ");
        assert_eq!(gateway.get("/").status, 200);

        // With the store the lease goes, and with the lease whatever is running.
        backend.pause();
        let mut client = gateway.client();
        client.ask("/", "");
        backend.wait_until(PATIENCE, |stats| stats.in_flight == 1);
        redis.kill();
        assert_eq!(client.answer().status, 503);
        gateway.process.expect_line("fenced: ");
        assert_eq!(gateway.get("/").status, 503);
        backend.resume();
        gateway.wait_until("the slot", |stats| stats["in_flight"] == 0);
    }
}

#[test]
fn sigterm_lets_running_requests_end_and_leaves() {
    let backend = Backend::start();
    for mut gateway in each(&backend.url(), &[]) {
        backend.pause();
        let mut client = gateway.client();
        client.ask("/", "connection: close\r\n");
        backend.wait_until(PATIENCE, |stats| stats.in_flight == 1);
        gateway.process.terminate();
        gateway.process.expect_line("draining");
        // The listener is closed: nobody new comes in.
        eventually(|| std::net::TcpStream::connect(&gateway.address).is_err()).unwrap();
        assert!(!gateway.process.has_ended());
        backend.resume();
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        gateway.process.expect_line("left");
        let status = gateway.process.wait(PATIENCE).expect("it has left");
        assert_eq!(status.code(), Some(0));
    }
}

#[test]
fn the_statistics_are_json_and_for_browsers_a_page() {
    let backend = Backend::start();
    for gateway in each(&backend.url(), &["--key", "k", "--node", "n"]) {
        let stats = gateway.stats();
        assert_eq!((&stats["key"], &stats["node"]), (&"k".into(), &"n".into()));
        assert_eq!((&stats["limit"], &stats["share"]), (&1.into(), &1.into()));
        let mut client = gateway.client();
        client.ask(
            "/stats",
            "accept: text/html,*/*;q=0.8\r\nconnection: close\r\n",
        );
        let page = client.answer();
        assert_eq!(
            page.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert!(
            page.text().starts_with("<!doctype html>"),
            "{}",
            page.text()
        );
        // Self-contained: nothing is fetched from elsewhere.
        assert!(!page.text().contains("http://") && !page.text().contains("https://"));
        assert_eq!(backend.stats().begun, 0);
    }
}

#[test]
fn without_limits_everything_passes() {
    let backend = Backend::start();
    for gateway in each(&backend.url(), &["--limits", "off", "--quota", "1/h"]) {
        backend.pause();
        let clients: Vec<Client> = (0..3)
            .map(|_| {
                let mut client = gateway.client();
                client.ask("/", "connection: close\r\n");
                client
            })
            .collect();
        assert_eq!(
            backend
                .wait_until(PATIENCE, |stats| stats.in_flight == 3)
                .in_flight,
            3
        );
        assert_eq!(gateway.count("at_backend"), 3);
        backend.resume();
        for mut client in clients {
            assert_eq!(client.answer().status, 200);
        }
        gateway.wait_until("the end", |stats| stats["at_backend"] == 0);
    }
}

#[test]
fn wrong_values_are_told_what_to_write_instead() {
    for (option, value, instead) in [
        ("--upstream", "ftp://x", "write http://HOST:PORT"),
        ("--listen", "8080", "write ADDRESS:PORT"),
        ("--framework", "rocket", "possible values: axum, actix"),
        (
            "--store",
            "postgres://x",
            "write memory or redis://HOST:PORT",
        ),
        (
            "--key",
            "",
            "key cannot be \"\" (0 bytes): use 1 to 128 bytes",
        ),
        (
            "--node",
            "",
            "node cannot be \"\" (0 bytes): use 1 to 128 bytes",
        ),
        ("--estimate", "fixed", "write fixed:24"),
        (
            "--estimate",
            "fixed:0",
            "use a fixed limit of 1 to 1 000 000",
        ),
        ("--allocation", "fair", "write max-min, equal-split or"),
        ("--handoff", "never", "write acknowledged or committed"),
        ("--outage", "frozen:30", "frozen:30s"),
        ("--outage", "safe-share:0:30s", "use at least 1"),
        ("--heartbeat", "1h", "write a whole number and its unit"),
        ("--heartbeat", "3s", "use more than the heartbeat"),
        ("--ttl", "-1s", "write a whole number and its unit"),
        ("--drain", "99999m", "use at most 24 h"),
        ("--quota", "100", "write how many per window"),
        ("--limits", "maybe", "possible values: on, off"),
    ] {
        let equals = format!("{option}={value}");
        let mut arguments = vec!["--listen=127.0.0.1:0", "--upstream=http://127.0.0.1:1"];
        arguments.retain(|it| !it.starts_with(option));
        arguments.push(&equals);
        let mut process = example("gateway", arguments);
        let status = process.wait(PATIENCE).expect("it cannot run with that");
        let said = process.output().wait_for(instead, Duration::ZERO);
        assert_ne!(status.code(), Some(0));
        assert!(
            said.is_some() || process.output().wait_for(instead, PATIENCE).is_some(),
            "{option} {value}: {}",
            process.output().text()
        );
    }
}
