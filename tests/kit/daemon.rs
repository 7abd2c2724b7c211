//! A `laked` process on a free port of the loopback interface, ended with the test.
//!
//! The daemon's address is learnt from the line it logs when it listens, so nothing is polled and no port is guessed.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The binary under test: from `TEST_BIN_DIR` (the release build of `make test`), else this build's own.
pub fn binary(name: &str) -> PathBuf {
    let own = match name {
        "laked" => env!("CARGO_BIN_EXE_laked"),
        "lakectl" => env!("CARGO_BIN_EXE_lakectl"),
        other => panic!("no binary {other}"),
    };
    match std::env::var_os("TEST_BIN_DIR") {
        Some(dir) => Path::new(&dir).join(name),
        None => PathBuf::from(own),
    }
}

/// A running daemon.
pub struct Daemon {
    child: Child,
    /// `http://127.0.0.1:PORT`, or https.
    pub url: String,
    log: mpsc::Receiver<String>,
}

impl Daemon {
    /// Starts `laked` on the lake; waits until it listens, or gives what it said when it ended before.
    pub fn start(lake: &Path) -> Result<Daemon, String> {
        let mut command = Command::new(binary("laked"));
        command.args(arguments(lake));
        Self::spawn(command)
    }

    /// The same under another program, as `strace …`.
    pub fn start_under(program: &str, options: &[String], lake: &Path) -> Result<Daemon, String> {
        let mut command = Command::new(program);
        command.args(options).arg(binary("laked")).args(arguments(lake));
        Self::spawn(command)
    }

    /// Starts a prepared command and reads its log until it listens.
    pub fn spawn(mut command: Command) -> Result<Daemon, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let log = lines_of(stderr);
        let mut said = String::new();
        loop {
            match log.recv_timeout(Duration::from_secs(120)) {
                Ok(line) => match address_in(&line) {
                    Some(url) => return Ok(Daemon { child, url, log }),
                    None => said.push_str(&(line + "\n")),
                },
                Err(_) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(said);
                }
            }
        }
    }

    /// The process to signal: the daemon itself, not the program it runs under.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to drain and stop; returns whether it ended well.
    pub fn stop(mut self) -> bool {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        self.child.wait().is_ok_and(|status| status.success())
    }

    /// Waits until it logs a line with these words; panics if it ends, or says nothing for two minutes.
    pub fn await_log(&self, words: &str) {
        self.await_logs(&[words.to_owned()]);
    }

    /// Waits until it has logged a line with each of these words, in any order.
    pub fn await_logs(&self, words: &[String]) {
        let mut missing: Vec<&String> = words.iter().collect();
        while !missing.is_empty() {
            match self.log.recv_timeout(Duration::from_secs(120)) {
                Ok(line) => missing.retain(|words| !line.contains(*words)),
                Err(error) => panic!("the daemon never said {missing:?}: {error}"),
            }
        }
    }

    /// Waits until this holds; it is looked at after each line that is logged, and every few milliseconds besides.
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..6000 {
            if holds() {
                return;
            }
            let said = self.log.recv_timeout(Duration::from_millis(20));
            assert!(said != Err(mpsc::RecvTimeoutError::Disconnected) || holds(), "the daemon ended before {what}");
        }
        panic!("two minutes, and not {what}");
    }

    /// Waits until this holds or the daemon ends; gives whether it holds.
    pub fn until_ended(&self, holds: impl Fn() -> bool) -> bool {
        for _ in 0..6000 {
            let ended = self.log.recv_timeout(Duration::from_millis(20)) == Err(mpsc::RecvTimeoutError::Disconnected);
            if ended || holds() {
                return holds();
            }
        }
        panic!("two minutes, and neither");
    }

    /// Waits for it to end by itself and gives what it logged meanwhile.
    pub fn wait(mut self) -> String {
        let _ = self.child.wait();
        self.log.iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Arguments of a daemon on a free port that commits soon.
pub fn arguments(lake: &Path) -> Vec<std::ffi::OsString> {
    let listen = ["--listen", "127.0.0.1:0", "--commit-age", "200ms"];
    ["--lake".into(), lake.into()].into_iter().chain(listen.map(Into::into)).collect()
}

fn lines_of(stderr: ChildStderr) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}

fn address_in(line: &str) -> Option<String> {
    let scheme = ["http://", "https://"].into_iter().find(|scheme| line.contains(&format!("{scheme}127.0.0.1:")))?;
    let rest = &line[line.find(scheme)?..];
    let end = rest[scheme.len()..].find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'));
    Some(rest[..end.map_or(rest.len(), |at| at + scheme.len())].to_string())
}

/// Runs `lakectl` and gives its standard output; panics with its complaint if it fails.
pub fn lakectl(arguments: &[&str]) -> String {
    let output = Command::new(binary("lakectl")).args(arguments).output().expect("lakectl starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "lakectl {arguments:?}: {complaint}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// An answer to a request: status, headers and body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: String,
}

impl Answer {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// POSTs a body; `Err` where the connection broke, whatever the reason.
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, String> {
    let mut request = agent().post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(request.send(body))
}

/// GETs what is there.
pub fn get(url: &str) -> Result<Answer, String> {
    read(agent().get(url).call())
}

/// DELETEs what is there.
pub fn delete(url: &str) -> Result<Answer, String> {
    read(agent().delete(url).call())
}

fn agent() -> ureq::Agent {
    ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build())
}

fn read(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, String> {
    let mut response = response.map_err(|error| error.to_string())?;
    let mut text = String::new();
    let mut reader = response.body_mut().as_reader();
    reader.read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body: text })
}
