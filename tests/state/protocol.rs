//! What the REST protocol promises, through the binaries: keys that outlive a killed daemon on PostgreSQL, dropped tables
//! that come back by `lakectl`, clients' reports as series.

use serde_json::{Value, json};

use super::{JSON, create, loaded, set, start, tried};
use crate::kit::daemon::{Answer, Daemon, delete, get, lakectl, post};
use crate::kit::postgres::PostgresServer;

fn keyed(daemon: &Daemon, key: u64, body: &str) -> Answer {
    let key = format!("017f22e2-79b0-7cc3-98c4-{key:012}");
    let headers = [JSON[0], ("Idempotency-Key", key.as_str())];
    post(&format!("{}/v1/namespaces/n/tables/t", daemon.url), &headers, body.as_bytes()).expect("answers")
}

#[test]
fn a_key_outlives_a_killed_daemon_on_postgresql() {
    let server = PostgresServer::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (lake, url) = (folder.path().join("lake"), server.url());
    let first = start(&lake, &["--database", &url]);
    create(&first.url, "t");
    let body = r#"{"requirements":[],"updates":[{"action":"set-properties","updates":{"k":"1"}}]}"#;
    let unfit = r#"{"requirements":[{"type":"assert-current-schema-id","current-schema-id":7}],"updates":[]}"#;
    let (done, refused) = (keyed(&first, 1, body), keyed(&first, 2, unfit));
    assert_eq!((done.status, refused.status), (200, 409), "{done:?} {refused:?}");
    // Killed, and started again by somebody else on another lake over the same database.
    drop(first);
    let allowed = format!("file://{}", folder.path().display());
    let second = start(&folder.path().join("other"), &["--database", &url, "--allow-location", &allowed]);
    assert_eq!(set(&second.url, "t", "k", "2").expect("answers").status, 200);
    for (key, body, told) in [(1, body, &done), (2, unfit, &refused)] {
        let again = keyed(&second, key, body);
        assert_eq!((again.status, &again.body, again.header("etag")), (told.status, &told.body, told.header("etag")));
    }
    assert_eq!(keyed(&second, 1, unfit).status, 422, "a key is of one request");
    let held = loaded(&second.url, "t");
    assert_eq!(held["metadata"]["properties"]["k"], "2", "nothing was done twice");
}

#[test]
fn lakectl_brings_back_what_was_dropped_and_not_what_was_purged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    let at = lake.to_str().expect("UTF-8");
    let daemon = start(&lake, &[]);
    create(&daemon.url, "t");
    create(&daemon.url, "gone");
    let before = loaded(&daemon.url, "t");
    let table = |name: &str| format!("{}/v1/namespaces/n/tables/{name}", daemon.url);
    assert_eq!(delete(&table("t")).expect("answers").status, 204);
    assert_eq!(delete(&format!("{}?purgeRequested=true", table("gone"))).expect("answers").status, 204);
    assert_eq!(get(&table("t")).expect("answers").status, 404);
    let through = ["--url", &daemon.url, "table", "undrop"];
    assert_eq!(lakectl(&[&through[..], &["n.t"]].concat()), "n.t is back\n");
    assert_eq!(loaded(&daemon.url, "t"), before);
    for (name, why) in [("n.gone", "a purged one cannot come back"), ("n.t", "dropped within a day")] {
        let (code, said) = tried(&[&through[..], &[name]].concat());
        assert!(code == Some(2) && said.contains(why), "{name}: {code:?} {said}");
    }
    assert_eq!(delete(&table("t")).expect("answers").status, 204);
    create(&daemon.url, "t");
    let (code, said) = tried(&[&through[..], &["n.t"]].concat());
    assert!(code.is_some_and(|code| code > 0) && said.contains("rename it first"), "{code:?} {said}");
    assert_eq!(delete(&table("t")).expect("answers").status, 204);
    assert!(daemon.stop());
    // The one dropped last comes back, without a daemon too; its files are beside the other's.
    let said = lakectl(&["--lake", at, "--output", "json", "table", "undrop", "n.t"]);
    assert_eq!(serde_json::from_str::<Value>(&said).expect("JSON"), json!({ "undropped": "n.t" }));
    let daemon = start(&lake, &[]);
    let back = loaded(&daemon.url, "t");
    assert_ne!(back["metadata"]["location"], before["metadata"]["location"]);
}

#[test]
fn a_clients_reports_are_series() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let daemon = start(&folder.path().join("lake"), &[]);
    create(&daemon.url, "t");
    let report = |kind: &str, metrics: &str| {
        let body = format!(r#"{{"report-type":"{kind}","table-name":"n.t","snapshot-id":1,"metrics":{{{metrics}}}}}"#);
        let url = format!("{}/v1/namespaces/n/tables/t/metrics", daemon.url);
        assert_eq!(post(&url, &JSON, body.as_bytes()).expect("answers").status, 204);
    };
    let timer = r#""total-planning-duration":{"count":1,"time-unit":"nanoseconds","total-duration":2000000}"#;
    report("scan-report", &format!(r#"{timer},"result-data-files":{{"unit":"count","value":3}}"#));
    report(
        "commit-report",
        r#""added-records":{"unit":"count","value":40},"added-data-files":{"unit":"count","value":1}"#,
    );
    let series = get(&format!("{}/metrics", daemon.url)).expect("answers").body;
    for line in [
        r#"laked_reports_total{kind="scan",table="n.t"} 1"#,
        r#"laked_reports_total{kind="commit",table="n.t"} 1"#,
        r#"laked_reported_scan_files_total{table="n.t"} 3"#,
        r#"laked_reported_commit_rows_total{table="n.t"} 40"#,
        r#"laked_reported_planning_seconds_sum{table="n.t"} 0.002"#,
    ] {
        assert!(series.lines().any(|found| found == line), "{line} is not in\n{series}");
    }
}
