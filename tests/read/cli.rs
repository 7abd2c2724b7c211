//! `lakectl` as it is called: what it prints, what it exits with.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::kit::daemon::{Daemon, binary};

const TABLE: &str = "glucose.cgm_readings";

/// Calls `lakectl` with a source and words.
struct Cli<'a>(&'a [&'a str]);

impl Cli<'_> {
    fn run(&self, words: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new(binary("lakectl"));
        command.args(self.0).args(words).env_remove("LAKECTL_URL");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        child.stdin.take().expect("a pipe").write_all(input).expect("is read");
        child.wait_with_output().expect("ends")
    }

    fn out(&self, words: &[&str], input: &[u8]) -> String {
        let output = self.run(words, input);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn json(&self, words: &[&str], input: &[u8]) -> Value {
        let words: Vec<&str> = words.iter().copied().chain(["--output", "json"]).collect();
        let text = self.out(&words, input);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
    }

    /// Exit code and complaint.
    fn fails(&self, words: &[&str]) -> (i32, String) {
        let output = self.run(words, b"");
        assert!(output.stdout.is_empty(), "{words:?} printed {}", String::from_utf8_lossy(&output.stdout));
        (output.status.code().expect("an exit"), String::from_utf8(output.stderr).expect("UTF-8"))
    }
}

fn reading(id: usize, country: &str, glucose: f64) -> String {
    format!(
        "{{\"reading_id\":\"r{id}\",\"user_id\":\"u1\",\"device_id\":\"d1\",\"timestamp\":\"2026-06-{:02}T00:00:00Z\",\
         \"glucose_mg_dl\":{glucose},\"country\":\"{country}\",\"source\":\"cgm\",\"trend\":\"flat\"}}\n",
        1 + id % 28
    )
}

#[test]
fn records_go_in_are_queried_mended_and_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = folder.path().join("lake");
    let mut command = Command::new(binary("laked"));
    command.arg("--lake").arg(&lake).args(["--listen", "127.0.0.1:0", "--commit-age", "100ms"]);
    let daemon = Daemon::spawn(command).expect("starts");
    let cli = Cli(&["--url", &daemon.url]);
    let good: String = (0..500).map(|id| reading(id, "TW", 100.0)).collect();
    let bad = reading(500, "XX", 100.0) + &reading(501, "TW", 5.0);
    let answer = cli.json(&["ingest", TABLE, "-", "--wait"], (good + &bad).as_bytes());
    assert_eq!((&answer[0]["accepted"], &answer[0]["rejected"]), (&500.into(), &2.into()));
    assert_eq!(answer[0]["reasons"][0]["line"], 501);

    let count = |cli: &Cli<'_>| {
        let sql = format!("select count(*) as n, count(distinct reading_id) as ids from {TABLE}");
        cli.out(&["query", &sql, "--format", "csv"], b"")
    };
    assert_eq!(count(&cli), "n,ids\n500,500\n");
    let file = lake.with_file_name("again.ndjson");
    lake_file(&file, &reading(600, "JP", 90.0));
    let file = file.to_str().expect("UTF-8");
    for (words, ids) in [(&["ingest", TABLE, file, "--wait"][..], "501,501"), (&["ingest", TABLE, file], "501,501")] {
        cli.out(words, b"");
        assert_eq!(count(&cli), format!("n,ids\n{ids}\n"), "the same content is taken once");
    }
    cli.out(&["ingest", TABLE, file, "--again", "--wait"], b"");
    assert_eq!(count(&cli), "n,ids\n502,501\n");
    let listed = cli.out(&["quarantine", "list", TABLE, "--output", "json"], b"");
    let codes: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(codes.iter().map(|line| line["codes"].as_str().expect("a code")).collect::<Vec<_>>(), ["enum", "range"]);

    let mend = ["quarantine", "replay", TABLE, "--code", "enum", "--set", "country=TW"];
    let dry = cli.out(&[&mend[..], &["--dry-run"]].concat(), b"");
    assert!(dry.contains("\"country\":\"TW\"") && dry.lines().count() == 1, "{dry}");
    assert_eq!(cli.json(&mend, b"")["accepted"], 1);
    cli.out(&mend, b"");
    // Sent again without being mended, the other record comes back as a new one.
    let rest = cli.json(&["quarantine", "replay", TABLE], b"");
    assert_eq!((&rest["sent"], &rest["rejected"], &rest["sent-before"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(count(&cli), "n,ids\n503,502\n");

    assert!(daemon.stop());
    stopped_lake(&lake, &count);
}

fn lake_file(path: &Path, text: &str) {
    let mut file = laked_catalog::system::System::real().disk.create(path).expect("is made");
    file.write_all(text.as_bytes()).expect("is written");
}

/// What can be done without a daemon.
fn stopped_lake(lake: &Path, count: &dyn Fn(&Cli<'_>) -> String) {
    let lake = lake.to_str().expect("UTF-8");
    let cli = Cli(&["--lake", lake]);
    let csv = "reading_id,user_id,device_id,timestamp,glucose_mg_dl,country,source,trend\n\
               x1,u2,d2,2026-07-01T00:00:00Z,99.5,JP,cgm,\n";
    let answer = cli.json(&["ingest", TABLE, "-", "--wait"], csv.as_bytes());
    assert_eq!(answer[0]["accepted"], 1);
    assert_eq!(count(&cli), "n,ids\n504,503\n");
    assert_eq!(cli.json(&["doctor", "--deep", "--stopped"], b"")["violations"], Value::Array(Vec::new()));
    let partitions = cli.out(&["partitions", TABLE], b"");
    let names: Vec<&str> = partitions.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(
        names,
        [
            "country=JP/timestamp_month=2026-06",
            "country=JP/timestamp_month=2026-07",
            "country=TW/timestamp_month=2026-06"
        ]
    );
    let history = cli.json(&["snapshots", TABLE], b"");
    let history = history.as_array().expect("snapshots");
    let first = history[0]["snapshot-id"].to_string();
    let sql = format!("select count(*) as n from {TABLE}");
    assert_eq!(cli.out(&["query", &sql, "--at", &first, "--format", "csv"], b""), "n\n500\n");
    let explained = cli.json(&["explain", TABLE, "--where", "country = 'JP'", "--select", "user_id"], b"");
    assert_eq!(explained["steps"][0]["before"]["partitions"], 3);
    assert_eq!(explained["columns"], serde_json::json!(["user_id"]));
}

#[test]
fn exit_codes_tell_whose_fault_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = folder.path().join("nowhere");
    let lake = Cli(&["--lake", nowhere.to_str().expect("UTF-8")]);
    for (words, code, part) in [
        (&["table", "list"][..], 2, "there is no lake here"),
        (&["query", "select 1 +"], 2, "syntax error"),
        (&["ingest", TABLE, "x.foo"], 2, ".ndjson"),
        (&["ingest", "cgm_readings", "x.csv"], 2, "namespace.table"),
        (&["table", "show", "readings"], 2, "namespace.table"),
        (&["nonsense"], 2, "unrecognized subcommand"),
        (&["files", "a.b", "--at", "noon"], 2, "neither a snapshot id nor a time"),
    ] {
        let (found, words_said) = lake.fails(words);
        assert_eq!(found, code, "{words:?}: {words_said}");
        assert!(words_said.contains(part), "{words:?}: {words_said}");
    }
    // Nobody listens on the discard port.
    let (code, said) = Cli(&["--url", "http://127.0.0.1:9"]).fails(&["table", "list"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("start `laked`"), "{said}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(binary("lakectl"))
        .args(["query", "select range as n from range(3000000)", "--format", "csv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty());
}
