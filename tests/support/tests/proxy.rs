//! The bad link: each fault shows on a connection, and heals.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use tidegate_test_support::{Direction, PATIENCE, TcpProxy};

const SILENCE: Duration = Duration::from_millis(100);

/// A server that answers every byte with the next one.
fn successor() -> TcpProxy {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = TcpProxy::start(listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut byte = [0];
                while let Ok(1) = stream.read(&mut byte) {
                    if stream.write_all(&[byte[0] + 1]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    proxy
}

fn connect(proxy: &TcpProxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn answer(stream: &mut TcpStream, patience: Duration) -> std::io::Result<u8> {
    stream.set_read_timeout(Some(patience))?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn is_closed(stream: &mut TcpStream) -> bool {
    answer(stream, PATIENCE).is_err_and(|error| {
        matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
        )
    })
}

#[test]
fn a_clear_link_carries_both_ways() {
    let proxy = successor();
    let mut stream = connect(&proxy);
    stream.write_all(&[7]).unwrap();
    assert_eq!(answer(&mut stream, PATIENCE).unwrap(), 8);
    assert_eq!((proxy.open(), proxy.accepted()), (1, 1));
}

#[test]
fn what_a_silent_link_holds_arrives_when_it_heals() {
    for held in [Direction::Requests, Direction::Responses] {
        let proxy = successor();
        let mut stream = connect(&proxy);
        proxy.hold_one_way(held);
        stream.write_all(&[7]).unwrap();
        answer(&mut stream, SILENCE).unwrap_err();
        proxy.heal();
        assert_eq!(answer(&mut stream, PATIENCE).unwrap(), 8);
    }
}

#[test]
fn a_slow_link_is_slow() {
    let proxy = successor();
    let mut stream = connect(&proxy);
    proxy.delay(SILENCE);
    stream.write_all(&[7]).unwrap();
    answer(&mut stream, SILENCE * 3 / 2).unwrap_err();
    assert_eq!(answer(&mut stream, PATIENCE).unwrap(), 8);
}

#[test]
fn a_cut_closes_what_is_open_and_lets_new_ones_in() {
    let proxy = successor();
    let mut old = connect(&proxy);
    old.write_all(&[1]).unwrap();
    assert_eq!(answer(&mut old, PATIENCE).unwrap(), 2);
    proxy.cut();
    assert!(is_closed(&mut old));
    let mut new = connect(&proxy);
    new.write_all(&[7]).unwrap();
    assert_eq!(answer(&mut new, PATIENCE).unwrap(), 8);
}

#[test]
fn a_refusing_link_closes_everything_until_it_heals() {
    let proxy = successor();
    let mut old = connect(&proxy);
    proxy.refuse();
    assert!(is_closed(&mut old));
    assert!(is_closed(&mut connect(&proxy)));
    proxy.heal();
    let mut new = connect(&proxy);
    new.write_all(&[7]).unwrap();
    assert_eq!(answer(&mut new, PATIENCE).unwrap(), 8);
}

#[test]
fn the_end_of_a_stream_comes_after_its_bytes() {
    let proxy = successor();
    let mut stream = connect(&proxy);
    proxy.delay_one_way(Direction::Requests, SILENCE);
    stream.write_all(&[7]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(answer(&mut stream, PATIENCE).unwrap(), 8);
    assert!(is_closed(&mut stream));
}

#[test]
fn a_redirected_link_leads_to_the_other_server_and_stays_as_bad_as_it_was() {
    let (proxy, other) = (successor(), successor());
    let mut old = connect(&proxy);
    old.write_all(&[1]).unwrap();
    assert_eq!(answer(&mut old, PATIENCE).unwrap(), 2);
    proxy.delay(SILENCE);
    proxy.redirect(other.address());
    assert!(is_closed(&mut old));
    let mut new = connect(&proxy);
    new.write_all(&[7]).unwrap();
    answer(&mut new, SILENCE * 3 / 2).unwrap_err();
    assert_eq!(answer(&mut new, PATIENCE).unwrap(), 8);
    assert_eq!(other.accepted(), 1);
}
