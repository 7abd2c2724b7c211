//! Scans planned by the server, by a client that uses it: PyIceberg reads the same rows, with no more files, whether it
//! plans for itself or asks the catalog; DuckDB's position deletes and a table of more files than a page among them.

use std::path::Path;
use std::process::Command;

use crate::kit::daemon::Daemon;
use crate::readers::python;

#[test]
fn pyiceberg_reads_the_same_rows_whoever_plans() {
    let folder = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::start(&folder.path().join("lake")).expect("starts");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planning/scan.py");
    let output = Command::new(python()).arg(script).arg(&daemon.url).output().expect("python starts");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", said(&output.stdout), said(&output.stderr));
    assert!(daemon.stop());
}
