//! A disk that is slow: strace delays each sync, so that a commit takes longer than its age.

use std::process::Command;

use crate::kit::daemon::{Daemon, binary, get, post};

const RECORD: &[u8] =
    b"{\"reading_id\":\"r1\",\"user_id\":\"u1\",\"device_id\":\"d1\",\"timestamp\":\"2025-03-01T00:00:00Z\",\
                        \"glucose_mg_dl\":100,\"country\":\"TW\",\"source\":\"cgm\"}\n";

/// The gauge of the push lane.
fn stretch(daemon: &Daemon) -> f64 {
    let metrics = get(&format!("{}/metrics", daemon.url)).expect("answers").body;
    let own = |line: &&str| {
        line.starts_with("laked_commit_age_stretch{") && line.contains("cgm_readings\"") && line.contains("\"push\"")
    };
    metrics.lines().find(own).and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

#[test]
fn where_syncing_takes_longer_than_the_age_a_gauge_says_that_it_stretches() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    assert!(Daemon::start(&lake).expect("starts").stop(), "it makes the tables and ends well");
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]);
    command.args(["-e", "inject=fdatasync:delay_enter=50000"]).arg(binary("laked"));
    command.arg("--lake").arg(&lake).args(["--listen", "127.0.0.1:0", "--commit-age", "10ms"]);
    let daemon = Daemon::spawn(command).expect("starts");
    let sent = post(
        &format!("{}/ingest/glucose/cgm_readings?wait=committed", daemon.url),
        &[("Content-Type", "application/x-ndjson")],
        RECORD,
    );
    assert_eq!(sent.expect("answers").status, 200);
    // Half of at least two syncs, one after the other, against ten milliseconds.
    daemon.until("the gauge has risen", || stretch(&daemon) >= 5.0);
}
