//! A request by hand, for what no client does: a body sent in halves, cut off, or never begun.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::daemon::Answer;

/// How long the daemon may be silent before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A POST under way.
pub struct Wire(BufReader<TcpStream>);

impl Wire {
    /// Sends the head of a POST to `http://HOST:PORT/PATH` whose body has `length` bytes.
    pub fn open(url: &str, headers: &[(&str, &str)], length: usize) -> Wire {
        Wire::head(url, headers, &format!("Content-Length: {length}"))
    }

    /// The same for a body that comes in chunks, its length not told.
    pub fn chunked(url: &str, headers: &[(&str, &str)]) -> Wire {
        Wire::head(url, headers, "Transfer-Encoding: chunked")
    }

    fn head(url: &str, headers: &[(&str, &str)], framing: &str) -> Wire {
        let rest = url.strip_prefix("http://").expect("http");
        let (host, path) = rest.split_once('/').expect("a path");
        let stream = TcpStream::connect(host).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let mut head = format!("POST /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut wire = Wire(BufReader::new(stream));
        wire.send(format!("{head}{framing}\r\n\r\n").as_bytes());
        wire
    }

    /// The same, and waits until the daemon asks for the body: by then it has looked at the head, and holds the key.
    pub fn begin(url: &str, headers: &[(&str, &str)], length: usize) -> Wire {
        let headers: Vec<_> = headers.iter().copied().chain([("Expect", "100-continue")]).collect();
        let mut wire = Wire::open(url, &headers, length);
        assert_eq!(wire.line(), "HTTP/1.1 100 Continue");
        assert_eq!(wire.line(), "");
        wire
    }

    /// Sends a part of the body.
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("the daemon reads");
    }

    /// Sends a chunk of a body that comes in chunks.
    pub fn chunk(&mut self, bytes: &[u8]) {
        self.send(format!("{:x}\r\n", bytes.len()).as_bytes());
        self.send(bytes);
        self.send(b"\r\n");
    }

    /// Sends no more, and waits until the daemon has ended its side too.
    pub fn cut_off(mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).expect("shuts down");
        // Whatever it answers goes nowhere.
        let _ = std::io::copy(&mut self.0, &mut std::io::sink());
    }

    /// The answer.
    pub fn answer(mut self) -> Answer {
        let first = self.line();
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let mut headers = ureq::http::HeaderMap::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            let name = ureq::http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.insert(name, value.parse().expect("a value"));
        }
        // The daemon may read on what is left of the body, so that its end is not waited for.
        let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        self.0.read_exact(&mut body).expect("an answer");
        Answer { status, headers, body: String::from_utf8(body).expect("text") }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the daemon answers");
        line.trim_end().to_owned()
    }
}
