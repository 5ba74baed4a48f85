//! The throw-away Redis: it starts, keeps or loses its data as told, stands still, and never outlives its test.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;
use std::{env, thread};
use tidegate_test_support::{
    ChildGuard, Data, Monitor, PATIENCE, RedisBuilder, RedisServer, Reply, TcpProxy, since_1970,
};

#[test]
fn data_is_kept_or_lost_over_a_kill_as_told() {
    let Some(mut redis) = RedisServer::builder().persistent().start() else {
        return;
    };
    let port = redis.port();
    redis.cli(&["SET", "tide", "high"]);
    redis.kill();
    redis.restart(Data::Keep);
    assert_eq!(redis.cli(&["GET", "tide"]).text(), "high");
    redis.restart(Data::Lose);
    assert_eq!(redis.cli(&["GET", "tide"]), Reply::Nil);
    assert_eq!(redis.port(), port);
}

#[test]
fn a_password_is_asked_for() {
    let Some(redis) = RedisServer::builder().password("abc").start() else {
        return;
    };
    assert_eq!(redis.cli(&["PING"]).text(), "PONG");
    let mut stranger = TcpStream::connect(redis.address()).unwrap();
    stranger.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    stranger.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"-NOAUTH");
    assert!(redis.url().contains(":abc@"));
}

#[test]
fn a_monitor_tells_what_scripts_do_and_what_comes_after_a_restart() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let (sender, told) = mpsc::channel();
    let _monitor = Monitor::start(redis.address(), move |line| {
        let _ = sender.send(line.to_owned());
    });
    let tells = |part: &str| {
        while let Ok(line) = told.recv_timeout(PATIENCE) {
            if line.contains(part) {
                return;
            }
        }
        panic!("{part} was not told");
    };
    let script = "return redis.call('SET', 'tide', 'a b')";
    redis.cli(&["EVAL", script, "0"]);
    tells(r#"lua] "SET" "tide" "a b""#);
    redis.restart(Data::Lose);
    // It may take a moment to notice.
    let again = (0..1000).any(|_| {
        redis.cli(&["SET", "ebb", "low"]);
        let soon = Duration::from_millis(20);
        told.recv_timeout(soon)
            .is_ok_and(|line| line.contains(r#""SET" "ebb" "low""#))
    });
    assert!(again, "nothing is told after a restart");
}

#[test]
fn a_servers_own_clock_steps_and_its_time_goes_by() {
    if let Some(missing) = RedisBuilder::lacks_for_own_clock() {
        return missing.skip();
    }
    let Some(redis) = RedisServer::builder().own_clock().start() else {
        return;
    };
    redis.cli(&["SET", "tide", "high", "PX", "600000"]);
    for ahead in [0, 300, -3600, 0] {
        redis.set_clock(ahead);
        let shown = redis.clock().as_secs() as i64 - since_1970().as_secs() as i64;
        assert!((ahead - 60..=ahead + 60).contains(&shown), "{shown} s");
        assert_eq!(redis.cli(&["GET", "tide"]).text(), "high");
    }
    redis.set_clock(900);
    assert_eq!(
        redis.cli(&["GET", "tide"]),
        Reply::Nil,
        "its end has passed"
    );
}

#[test]
fn a_replica_has_its_masters_data_and_takes_no_writes() {
    let Some(master) = RedisServer::builder().password("abc").start() else {
        return;
    };
    master.cli(&["SET", "tide", "high"]);
    let replica = RedisServer::builder().replica_of(&master).start().unwrap();
    assert_eq!(replica.cli(&["GET", "tide"]).text(), "high");
    let Reply::Error(refusal) = replica.cli(&["SET", "tide", "low"]) else {
        panic!("a replica took a write");
    };
    assert!(refusal.starts_with("READONLY"), "{refusal}");
}

#[test]
fn a_replica_behind_a_silent_link_is_promoted_without_the_last_writes() {
    let Some(master) = RedisServer::start() else {
        return;
    };
    let link = TcpProxy::start(master.address());
    let replica = RedisServer::builder()
        .replica_through(&master, link.address())
        .start()
        .unwrap();
    master.cli(&["SET", "tide", "high"]);
    let copied = (0..PATIENCE.as_millis() / 5).any(|_| {
        thread::park_timeout(Duration::from_millis(5));
        replica.cli(&["EXISTS", "tide"]).integer() == 1
    });
    assert!(copied);
    link.hold();
    master.cli(&["SET", "tide", "low"]);
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(replica.cli(&["GET", "tide"]).text(), "high");
    assert_eq!(replica.cli(&["SET", "tide", "ebb"]).text(), "OK");
}

#[test]
fn a_stopped_server_answers_when_it_goes_on() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let mut client = TcpStream::connect(redis.address()).unwrap();
    redis.stop_process();
    client.write_all(b"PING\r\n").unwrap();
    let silence = Duration::from_millis(100);
    client.set_read_timeout(Some(silence)).unwrap();
    let mut answer = [0; 7];
    client.read_exact(&mut answer).unwrap_err();

    redis.cont();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

/// Runs itself once more as the victim, which starts a server, says where, and is killed.
#[test]
fn a_server_dies_with_a_killed_test() {
    const VICTIM: &str = "TIDEGATE_TEST_VICTIM";
    if env::var_os(VICTIM).is_some() {
        let redis = RedisServer::start().unwrap();
        println!("\nport {}", redis.port());
        loop {
            thread::park();
        }
    }
    if RedisServer::start().is_none() {
        return;
    }
    let mut victim = ChildGuard::spawn(
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "a_server_dies_with_a_killed_test", "--nocapture"])
            .env(VICTIM, "1"),
    );
    let line = victim.expect_line("port ");
    let port: u16 = line.trim_start_matches("port ").parse().unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();

    victim.kill();

    // The kernel closes the dead server's connections.
    let end = client.read(&mut [0]);
    assert!(
        matches!(end, Ok(0)) || end.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
        "the server still runs"
    );
}
