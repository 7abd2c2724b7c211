//! What laked does to tables by itself: under a producer, killed, cancelled, late, told not to.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use serde_json::{Value, json};

use super::expire::{set_property, snapshots};
use super::{BODY, Lake, TABLE, produce};
use crate::kit::daemon::{Daemon, get, post};
use crate::kit::readings::Readings;
use crate::readers::python;

/// A lake whose daemon has these settings, by the environment, and merges files after three commits.
fn with(lake: &mut Lake, settings: &[(&str, &str)]) {
    let mut command = lake.folder.served();
    command.args(["--commit-age", "50ms"]).envs(DUE).envs(settings.iter().copied());
    lake.daemon = Some(Daemon::spawn(command).expect("the daemon starts"));
}

/// A step takes two files, and rests for hours after it.
const SLOW: [(&str, &str); 2] = [("LAKED_MAINTENANCE_RATE", "1B"), ("LAKED_MAINTENANCE_STEP", "1B")];
const DUE: [(&str, &str); 2] = [("LAKED_MAINTENANCE_COMPACT", "3 commits"), ("LAKED_MAINTENANCE_EXPIRE", "off")];

/// A lake without a daemon, with so many commits in it, where a compaction is due for one that is started [`with`] settings.
fn due_at_start(bodies: u64) -> Lake {
    let mut lake = Lake { folder: Readings::new(), daemon: None };
    with(&mut lake, &[("LAKED_MAINTENANCE_TABLES", "none")]);
    (0..bodies).for_each(|body| lake.send(body..body + 1));
    set_property(&lake, "laked.maintenance.min-inputs", "2");
    lake.stop();
    lake
}

/// The runs of a task that the daemon knows, newest first.
fn runs(url: &str, task: &str) -> Vec<Value> {
    runs_of(url, TABLE, task)
}

fn runs_of(url: &str, table: &str, task: &str) -> Vec<Value> {
    let answer = get(&format!("{url}/maintenance/runs?most=1000&table={table}")).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let listed: Value = serde_json::from_str(&answer.body).expect("JSON");
    listed["runs"].as_array().expect("runs").iter().filter(|run| run["task"] == task).cloned().collect()
}

fn until_runs(lake: &Lake, task: &str, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    lake.daemon.as_ref().expect("a daemon").until(what, || holds(&runs(lake.url(), task)));
    runs(lake.url(), task)
}

fn files(lake: &Lake) -> usize {
    lake.json(&["files", TABLE]).as_array().expect("files").len()
}

fn is_whole(lake: &mut Lake, bodies: u64) {
    assert_eq!(lake.numbers(), (0..bodies * BODY).collect::<Vec<_>>());
    lake.stop();
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], json!([]));
}

#[test]
fn under_a_producer_files_are_merged_and_snapshots_thinned_by_themselves() {
    let mut lake = Lake::new();
    for (key, value) in [
        ("laked.retention", "1s:all"),
        ("laked.maintenance.expire", "5 commits"),
        ("laked.maintenance.compact", "cooled 1s or 20 files"),
        ("laked.maintenance.min-inputs", "2"),
        ("laked.maintenance.hot-files", "8"),
        ("laked.maintenance.manifests", "20 commits"),
        ("laked.maintenance.orphans", "20 commits"),
    ] {
        set_property(&lake, key, value);
    }
    let url = lake.url().to_owned();
    let producer = std::thread::spawn(move || produce(&url, 0..121, &mpsc::channel().0));
    let is_done = |run: &Value| run["state"] == "done";
    until_runs(&lake, "compact", "files are merged while more come", |runs| runs.iter().any(is_done));
    until_runs(&lake, "expire", "snapshots expire while more come", |runs| runs.iter().any(is_done));
    until_runs(&lake, "orphans", "orphans are looked for", |runs| runs.iter().any(is_done));
    until_runs(&lake, "manifests", "files are listed anew", |runs| runs.iter().any(is_done));
    assert!(producer.join().is_ok());
    let daemon = lake.daemon.as_ref().expect("a daemon");
    // What is left of each partition: sizes that double, or nearly.
    daemon.until("few files are left", || files(&lake) <= 2 * 6);
    for task in ["compact", "expire", "orphans", "manifests"] {
        assert_eq!(
            runs(lake.url(), task).iter().find(|run| !matches!(run["state"].as_str(), Some("done" | "running"))),
            None
        );
    }
    let listed = lake.lakectl(&["maintenance", "list", TABLE, "--most", "1000"]);
    assert!(listed.contains("files became") && listed.contains("snapshots expired"), "{listed}");
    let first = runs(lake.url(), "compact").pop().expect("a run");
    let shown = lake.lakectl(&["maintenance", "show", first["id"].as_str().expect("an id")]);
    assert!(shown.contains("why") && shown.contains("files-before"), "{shown}");
    assert!(snapshots(&lake).len() < 60, "{}", snapshots(&lake).len());
    let metrics = get(&format!("{}/metrics", lake.url())).expect("an answer").body;
    for series in [
        r#"laked_maintenance_runs_total{table="probe.readings",task="compact",outcome="done"}"#,
        r#"laked_maintenance_runs_total{table="probe.readings",task="expire",outcome="done"}"#,
        r#"laked_maintenance_files_total{table="probe.readings",task="compact",way="removed"}"#,
        "laked_maintenance_run_seconds_count",
        r#"laked_table_snapshots{table="probe.readings"}"#,
        r#"laked_table_small_files{table="probe.readings"}"#,
        r#"laked_table_delete_debt{table="probe.readings"} 0"#,
        "laked_maintenance_steps",
        "laked_maintenance_unlinked_total",
        "laked_maintenance_due",
    ] {
        assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    }
    let next = lake.json(&["health", TABLE])["schedule"]["next"].clone();
    let due = |task: &str| {
        let next = next.as_array().expect("tasks").iter().find(|next| next["task"] == task);
        next.map_or(Value::Null, |next| next["due"].clone())
    };
    for task in ["compact", "expire", "orphans", "manifests"] {
        assert!(["now", "at", "on-commits"].iter().any(|word| due(task) == *word), "{next}");
    }
    is_whole(&mut lake, 121);
}

#[test]
fn a_run_that_is_killed_is_marked_and_planned_anew_and_no_row_is_lost() {
    let mut lake = due_at_start(6);
    let place = lake.path();
    // Each of these calls takes so long that a run is met under way.
    let calls = "rename,renameat2,fsync,fdatasync";
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={calls}:delay_enter=200000")]);
    let served = lake.folder.served();
    strace.arg(served.get_program()).args(served.get_args()).envs(DUE).envs(SLOW);
    lake.daemon =
        Some(Daemon::spawn(strace).expect("strace runs: install it (apt-get install strace), as .ci/run does"));
    let under_way = until_runs(&lake, "compact", "it begins", |runs| !runs.is_empty());
    let id = under_way[0]["id"].clone();
    // By SIGKILL.
    drop(lake.daemon.take());
    let left = lake.json(&["maintenance", "show", id.as_str().expect("an id")]);
    assert_eq!(left["state"], "running", "nobody was there to note that it died");
    assert_eq!(lake.numbers(), (0..6 * BODY).collect::<Vec<_>>(), "before or after, in {}", place.display());
    with(&mut lake, &[]);
    until_runs(&lake, "compact", "it is marked", |runs| {
        runs.iter().any(|run| run["id"] == id && run["state"] == "cut-off")
    });
    let daemon = lake.daemon.as_ref().expect("a daemon");
    daemon.until("its work is done", || files(&lake) == 2);
    let said = |run: &Value| run["why"].as_str().is_some_and(|why| why.contains("was cut off"));
    assert!(runs(lake.url(), "compact").iter().any(said), "it is why another was begun");
    let metrics = get(&format!("{}/metrics", lake.url())).expect("an answer").body;
    let cut = r#"laked_maintenance_runs_total{table="probe.readings",task="compact",outcome="cut-off"} 1"#;
    assert!(metrics.contains(cut), "{metrics}");
    lake.send(6..8);
    is_whole(&mut lake, 8);
}

#[test]
fn a_run_rests_is_cancelled_and_given_up_when_its_time_has_come() {
    let mut lake = due_at_start(6);
    // After its first step it would rest for hours.
    with(&mut lake, &[("LAKED_MAINTENANCE_RATE", "1B")]);
    let rests = |run: &Value| run["progress"]["doing"].as_str().is_some_and(|doing| doing.contains("rests"));
    let running = until_runs(&lake, "compact", "it rests", |runs| runs.iter().any(rests));
    let id = running[0]["id"].as_str().expect("an id").to_owned();
    assert!(lake.lakectl(&["health", TABLE]).contains(&format!("running: {id}")));
    assert!(lake.lakectl(&["maintenance", "cancel", &id]).contains("before its next step"));
    let ended = until_runs(&lake, "compact", "it ends", |runs| runs.iter().all(|run| run["state"] != "running"));
    assert_eq!((&ended[0]["state"], &ended[0]["report"]["files-after"]), (&json!("cancelled"), &json!(2)));
    lake.refuses(&["maintenance", "cancel", &id], "cancelled");
    lake.refuses(&["maintenance", "cancel", "none"], "no such run");
    lake.refuses(&["maintenance", "show", "none"], "maintenance list");
    lake.refuses(&["maintenance", "list", "probe.none"], "there is no table");
    set_property(&lake, "laked.maintenance.deadline", "200ms");
    lake.send(6..12);
    until_runs(&lake, "compact", "one is given up", |runs| runs.iter().any(|run| run["state"] == "overdue"));
    is_whole(&mut lake, 12);
}

#[test]
fn what_a_stop_or_its_deadline_ended_goes_on() {
    let mut lake = due_at_start(6);
    let before = files(&lake);
    with(&mut lake, &SLOW);
    let rests = |run: &Value| run["progress"]["doing"].as_str().is_some_and(|doing| doing.contains("rests"));
    until_runs(&lake, "compact", "it rests", |runs| runs.iter().any(rests));
    lake.stop();
    let left = lake.json(&["maintenance", "list", TABLE]);
    assert_eq!((&left[0]["state"], files(&lake)), (&json!("stopped"), before - 1));
    with(&mut lake, &[SLOW[0], SLOW[1], ("LAKED_MAINTENANCE_DEADLINE", "200ms")]);
    let goes_on = |run: &Value| run["why"].as_str().is_some_and(|why| why.contains("left some for another"));
    let overdue = |run: &&Value| goes_on(run) && run["state"] == "overdue";
    until_runs(&lake, "compact", "it goes on, more than once", |runs| runs.iter().filter(overdue).count() > 1);
    lake.stop();
    with(&mut lake, &[]);
    lake.daemon.as_ref().expect("a daemon").until("all is done", || files(&lake) <= 4);
    is_whole(&mut lake, 6);
}

#[test]
fn a_partition_that_cannot_be_rewritten_holds_up_no_other() {
    let mut lake = Lake { folder: Readings::new(), daemon: None };
    with(&mut lake, &[("LAKED_MAINTENANCE_STEP", "1B")]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/maintain/added.py");
    let output = Command::new(python()).arg(script).arg(lake.url()).output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let daemon = lake.daemon.as_ref().expect("a daemon");
    let done = || runs_of(lake.url(), "probe.added", "compact").into_iter().find(|run| run["state"] == "done");
    daemon.until("a run is done", || done().is_some());
    let report = done().expect("a run")["report"].clone();
    assert!(report["left-out"][0].as_str().is_some_and(|left| left.contains("no field ids")), "{report}");
    let listed = lake.json(&["files", "probe.added"]);
    let of_b = |file: &&Value| file["path"].as_str().is_some_and(|path| path.contains("/place=b/"));
    assert!(listed.as_array().expect("files").iter().filter(of_b).count() <= 2, "{listed}");
    let metrics = get(&format!("{}/metrics", lake.url())).expect("an answer").body;
    assert!(metrics.contains(r#"laked_maintenance_left_out_total{table="probe.added"} 1"#), "{metrics}");
}

#[test]
fn what_a_table_says_is_followed_and_what_it_says_wrongly_is_told() {
    let lake = Lake::new();
    lake.send(0..4);
    let compact = |lake: &Lake| {
        let next = lake.json(&["health", TABLE])["schedule"]["next"].clone();
        next.as_array().expect("tasks").iter().find(|next| next["task"] == "compact").cloned().expect("compaction")
    };
    assert_eq!(compact(&lake)["due"], "at", "a minute after files came");
    set_property(&lake, "laked.maintenance.compact", "often");
    let told = lake.json(&["health", TABLE])["schedule"]["problems"].clone();
    assert!(told[0].as_str().is_some_and(|told| told.contains("'often'")), "{told}");
    assert_eq!(compact(&lake)["due"], "at", "the settings hold");
    set_property(&lake, "laked.maintenance", "off");
    let off = compact(&lake);
    assert_eq!((&off["due"], &off["why"]), (&json!("off"), &json!("laked.maintenance is off")));
    let shown = |lake: &Lake, series: &str| {
        get(&format!("{}/metrics", lake.url()))
            .expect("an answer")
            .body
            .contains(&format!("{series}{{table=\"{TABLE}\"}}"))
    };
    let daemon = lake.daemon.as_ref().expect("a daemon");
    daemon.until("its gauges go", || !shown(&lake, "laked_table_snapshots"));
    set_property(&lake, "laked.maintenance", "on");
    daemon.until("they come back", || shown(&lake, "laked_table_snapshots"));
    let fields = json!([{ "id": 1, "name": "n", "type": "long", "required": false }]);
    let body = json!({ "name": "others", "schema": { "type": "struct", "fields": fields } });
    let url = format!("{}/v1/namespaces/probe/tables", lake.url());
    let made = post(&url, &[("Content-Type", "application/json")], body.to_string().as_bytes()).expect("an answer");
    assert_eq!(made.status, 200, "{}", made.body);
    let foreign = lake.lakectl(&["health", "probe.others"]);
    assert!(foreign.contains("schedule: compact not by itself: no contract made the table"), "{foreign}");
    assert!(lake.lakectl(&["maintenance", "list"]).contains("nothing was done"));
    lake.refuses(&["maintenance", "list", "--most", "10001"], "1 to 10000");
}
