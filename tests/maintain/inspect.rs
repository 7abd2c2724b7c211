//! What `lakectl` says is in a table, against what PyIceberg says.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use super::{Lake, TABLE};
use crate::readers::python;

#[test]
fn lakectl_and_pyiceberg_say_the_same_of_a_table() {
    let lake = Lake::new();
    (0..4).for_each(|n| lake.send(n..n + 1));
    let of = |verb: &str| lake.json(&[verb, TABLE]);
    let first = of("snapshots")[1]["snapshot-id"].to_string();
    lake.lakectl(&["tag", "create", TABLE, "v1", "--keep", "90d"]);
    lake.lakectl(&["rollback", TABLE, "--to", &first]);
    lake.send(4..5);
    lake.lakectl(&["branch", "create", TABLE, "audit"]);
    let verbs = ["history", "snapshots", "files", "partitions", "refs"];
    let said: Map<String, Value> = verbs.iter().map(|verb| (verb.to_string(), of(verb))).collect();
    assert_eq!(said["history"].as_array().map(Vec::len), Some(6));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("said.json");
    std::fs::write(&file, Value::Object(said).to_string()).expect("is written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/maintain/agree.py");
    let output = Command::new(python()).arg(script).args([lake.url(), TABLE]).arg(&file).output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let health = lake.json(&["health", TABLE]);
    assert_eq!(
        (&health["snapshots"], &health["kept-by-refs"], &health["partitions"]),
        (&5.into(), &2.into(), &2.into())
    );
    assert_eq!(health["findings"], serde_json::json!([]));
    assert!(lake.lakectl(&["health", TABLE]).contains("nothing to mend"));
    assert!(lake.lakectl(&["files", TABLE]).lines().count() > 6);
}
