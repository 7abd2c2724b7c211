//! A PostgreSQL server of the test's own: on a socket in a temporary folder, ended with the test.
//!
//! PostgreSQL refuses to run as root, so root runs it as `nobody` (65534). Should the test be killed, the server goes
//! too (`setpriv --pdeathsig`).

use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const NOBODY: u32 = 65534;

/// A running server.
pub struct PostgresServer {
    server: Child,
    folder: tempfile::TempDir,
}

impl PostgresServer {
    /// Starts one; panics with what to install if there is none.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        let root = is_root();
        if root {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        let mut initdb = command("initdb", root);
        initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username=laked", "-D"]);
        let made = initdb.arg(&data).output().expect("initdb starts");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut postgres = command("postgres", root);
        postgres.arg("-D").arg(&data).arg("-k").arg(folder.path());
        postgres.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=50"]);
        let mut server = postgres.stderr(Stdio::piped()).spawn().expect("postgres starts");
        let mut said = String::new();
        let mut log = BufReader::new(server.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let ready = log.by_ref().any(|line| {
            said.push_str(&line);
            line.contains("ready to accept connections")
        });
        std::thread::spawn(move || log.for_each(drop));
        if !ready {
            let _ = server.kill();
            let _ = server.wait();
            panic!("postgres ended: {said}");
        }
        Self { server, folder }
    }

    /// What a catalog is given to use it.
    pub fn url(&self) -> String {
        let socket = self.folder.path().to_str().expect("UTF-8").replace('/', "%2F");
        format!("postgres://laked@{socket}/postgres")
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // SIGINT: sessions are cut off, and it ends in order.
        let _ = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.trim_ascii() == b"0"
}

fn command(name: &str, root: bool) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]).stdin(Stdio::null()).stdout(Stdio::null());
    // What is above the temporary folder may be closed to nobody.
    command.current_dir("/");
    if root {
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    }
    command.arg(binary(name));
    command
}

/// Debian keeps them outside of the path.
fn binary(name: &str) -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = installed.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(debian);
    let found = folders.map(|folder| folder.join(name)).find(|path| Path::exists(path));
    found.unwrap_or_else(|| {
        panic!("{name} is missing: install PostgreSQL (apt-get install postgresql), as .ci/run does")
    })
}
