//! Starting, being looked at and stopping: what an operator meets.

use crate::support::{Client, Gateway, eventually};
use crate::{FRAMEWORKS, each};
use std::time::Duration;
use tidegate_test_support::{Backend, Data, PATIENCE, RedisServer, example};

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
        ("--empty-store", "yes", "write learn or trust"),
        ("--local-limit", "0", "write a whole number above zero"),
        ("--handoff", "never", "write acknowledged or committed"),
        ("--outage", "frozen:30", "frozen:30s"),
        ("--outage", "safe-share:0:30s", "use at least 1"),
        ("--heartbeat", "1h", "write a whole number and its unit"),
        ("--queue", "20", "write a whole number and its unit"),
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
