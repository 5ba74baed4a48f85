//! What passes through the gateway, and what may not.

use crate::each;
use crate::support::{ByHand, header};
use std::io::Read;

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
