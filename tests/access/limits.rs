//! What a stranger may hold: connections, heads, time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::Guarded;
use crate::kit::wire::Wire;

fn connect(guarded: &Guarded) -> TcpStream {
    let host = guarded.daemon.url.strip_prefix("http://").expect("http");
    let stream = TcpStream::connect(host).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
    stream
}

/// What it says until it ends the connection.
fn said(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // A connection that is cut off says no more.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn who_is_silent_is_cut_off_and_makes_place() {
    let guarded = Guarded::with(&[("HTTP_HEAD_MOST", "300ms"), ("HTTP_CONNECTIONS", "1")]);
    let mut slow = connect(&guarded);
    slow.write_all(b"GET /health HTTP/1.1\r\nHo").expect("sends");
    let mut next = connect(&guarded);
    next.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sends");
    assert!(!said(slow).contains("200 OK"));
    assert!(said(next).starts_with("HTTP/1.1 200 OK"), "its turn has come");
}

#[test]
fn a_head_has_bounds() {
    let guarded = Guarded::new();
    for head in [format!("X: {}\r\n", "x".repeat(200 << 10)), "X: x\r\n".repeat(101)] {
        let mut stream = connect(&guarded);
        // It may answer before all is sent.
        let _ = stream.write_all(format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{head}\r\n").as_bytes());
        let said = said(stream);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    }
}

#[test]
fn a_request_to_the_catalog_ends_in_time() {
    let guarded = Guarded::with(&[("HTTP_REQUEST_MOST", "300ms")]);
    let token = format!("Bearer {}", guarded.token("writer", &[]).text);
    let url = format!("{}/v1/namespaces", guarded.daemon.url);
    let answer = Wire::open(&url, &[("Authorization", &token)], 100).answer();
    assert_eq!(answer.status, 504, "{}", answer.body);
    assert!(answer.body.contains("CommitStateUnknownException"), "{}", answer.body);
}
