//! What a daemon does at its edges: it drains when it is asked to stop, and refuses a lake that another one has.

mod disk;
mod foreign;
mod matrix;
mod order;
mod slow;

use std::path::Path;

use crate::kit::daemon::{Daemon, lakectl, post};

fn count(lake: &Path) -> String {
    let sql = "select count(*), count(distinct reading_id) from glucose.cgm_readings";
    lakectl(&["--lake", lake.to_str().expect("UTF-8"), "query", "--format", "csv", sql])
}

#[test]
fn a_second_daemon_is_refused_and_the_first_drains() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = folder.path().join("lake");
    let daemon = Daemon::start(&lake).expect("starts");
    let said = Daemon::start(&lake).err().expect("the second must not start");
    assert!(said.contains("another laked has this lake"), "{said}");
    let rows = lakectl(&["sample", "cgm", "--users", "5"]);
    let url = format!("{}/ingest/glucose/cgm_readings", daemon.url);
    let answer = post(&url, &[("content-type", "application/x-ndjson")], rows.as_bytes()).expect("answers");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(daemon.stop(), "it drains and ends well");
    let wanted = rows.lines().count();
    assert_eq!(count(&lake).lines().nth(1), Some(format!("{wanted},{wanted}").as_str()));
}
