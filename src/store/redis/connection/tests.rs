//! A connection is kept while it answers at all, and made only once at a time.

use super::*;
use crate::store::RedisStore;
use std::sync::LazyLock;
use tidegate_test_support::{Direction, PATIENCE, RedisServer, TcpProxy};

static PING: LazyLock<Script> = LazyLock::new(|| Script::new("return redis.call('PING')"));
const MS: Duration = Duration::from_millis(1);

fn linked() -> Option<(RedisServer, TcpProxy, Arc<Connection>)> {
    let server = RedisServer::start()?;
    let link = TcpProxy::start(server.address());
    let store = RedisStore::new(server.url_through(link.address())).expect("an address");
    Some((server, link, store.connection))
}

/// Whoever waits less than the link takes gives up each time; the connection is as good as before.
#[tokio::test]
async fn a_connection_whose_answers_come_late_is_not_made_anew() {
    let Some((_server, link, connection)) = linked() else {
        return;
    };
    let call = || connection.call(&PING, "ping", "key", &[]);
    call().await.expect("an answer");
    link.delay(50 * MS);
    for _ in 0..5 {
        let given_up = tokio::time::timeout(MS, call()).await;
        assert!(given_up.is_err(), "answered before it could be");
        let heard = async {
            while connection.unanswered.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(MS).await;
            }
        };
        let heard = tokio::time::timeout(PATIENCE, heard).await;
        heard.expect("the late answer counts");
    }
    link.heal();
    call().await.expect("an answer");
    assert_eq!(link.accepted(), 1);
}

/// The handshake takes a slow link several round trips; it is not begun anew because nobody waits so long.
#[tokio::test]
async fn an_attempt_to_connect_goes_on_when_its_callers_have_given_up() {
    let Some((_server, link, connection)) = linked() else {
        return;
    };
    let call = || connection.call(&PING, "ping", "key", &[]);
    link.hold();
    for _ in 0..10 {
        let given_up = tokio::time::timeout(MS, call()).await;
        assert!(given_up.is_err(), "answered over a silent link");
    }
    link.heal();
    call().await.expect("an answer");
    assert_eq!(link.accepted(), 1);
}

/// Its caller has been told that nothing was decided.
#[tokio::test]
async fn what_waited_for_a_connection_in_vain_is_not_sent_when_there_is_one() {
    let Some((_server, link, connection)) = linked() else {
        return;
    };
    let count = Arc::new(Script::new("return redis.call('INCR', KEYS[1])"));
    link.hold();
    for _ in 0..3 {
        let mut call = redis::cmd("EVALSHA");
        call.arg(count.get_hash()).arg(1).arg("key");
        let given_up = connection.invoke_or_hear_late(call, &count, "count", MS, drop);
        let error = given_up.await.expect_err("the link is silent");
        assert_eq!(error.kind(), StoreErrorKind::Timeout);
    }
    link.heal();
    let ping = connection.call(&PING, "ping", "key", &[]).await;
    ping.expect("an answer");
    // Time for whoever still waited for that connection.
    tokio::time::sleep(100 * MS).await;
    let mut call = redis::cmd("EVALSHA");
    call.arg(count.get_hash()).arg(1).arg("key");
    let counted = connection.invoke(call, &count, "count", PATIENCE).await;
    assert_eq!(counted.expect("an answer"), Value::Int(1));
}

/// The server did not know the script, and says so too late.
#[tokio::test]
async fn what_the_server_did_not_know_is_not_sent_again_to_nobody() {
    let Some((_server, link, connection)) = linked() else {
        return;
    };
    let count = Arc::new(Script::new("return redis.call('INCR', KEYS[1])"));
    let call = || {
        let mut call = redis::cmd("EVALSHA");
        call.arg(count.get_hash()).arg(1).arg("key");
        call
    };
    let ping = || connection.call(&PING, "ping", "key", &[]);
    ping().await.expect("an answer");
    link.hold_one_way(Direction::Responses);
    let given_up = connection.invoke(call(), &count, "count", 50 * MS).await;
    let error = given_up.expect_err("the link is silent");
    assert_eq!(error.kind(), StoreErrorKind::Timeout);
    link.heal();
    // Answers come in order: the late one is there, and whoever heard it has had time.
    ping().await.expect("an answer");
    tokio::time::sleep(100 * MS).await;
    let counted = connection.invoke(call(), &count, "count", PATIENCE).await;
    assert_eq!(counted.expect("an answer"), Value::Int(1));
}

#[test]
fn servers_older_than_6_2_are_refused_by_name() {
    for (version, welcome) in [
        ("6.0.16", false),
        ("5.0.7", false),
        ("6.2.0", true),
        ("7.4.1", true),
        ("8.0.0", true),
    ] {
        let checked = check_version(&format!(
            "# Server\r\nredis_version:{version}\r\nrun_id:abc\r\n"
        ));
        assert_eq!(checked.is_ok(), welcome, "{version}");
        if let Err(error) = checked {
            assert_eq!(error.kind(), StoreErrorKind::Unsupported);
            assert!(error.to_string().contains(version), "{error}");
        }
    }
    assert_eq!(
        check_version("hello").expect_err("no version").kind(),
        StoreErrorKind::Protocol
    );
}
