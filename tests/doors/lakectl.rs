//! `lakectl ingest`: files and standard input, to a daemon and into a lake nobody serves, each content once.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use laked::flow::Packing;
use serde_json::Value;

use super::forms::{array, csv, packed, parquet, stream};
use super::{Lake, TABLE, records};
use crate::kit::daemon::binary;

/// Who is asked: `--url URL` or `--lake DIR`; and what else is said to take records in.
struct Asked<'a>(&'a [&'a str], &'a [&'a str]);

impl Asked<'_> {
    fn run(&self, words: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new(binary("lakectl"));
        command.args(self.0).args(["ingest", TABLE, "--output", "json"]).args(self.1).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        child.stdin.take().expect("a pipe").write_all(input).expect("is read");
        child.wait_with_output().expect("ends")
    }

    /// What was accepted and refused of each file.
    fn ingest(&self, words: &[&str], input: &[u8]) -> Vec<(u64, u64)> {
        let output = self.run(words, input);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let said: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
        let count = |value: &Value| value.as_u64().expect("a count");
        said.iter().map(|one| (count(&one["accepted"]), count(&one["rejected"]))).collect()
    }

    fn query(&self, sql: &str) -> String {
        let mut command = Command::new(binary("lakectl"));
        let output = command.args(self.0).args(["query", "--format", "csv", sql]).output().expect("starts");
        String::from_utf8(output.stdout).expect("UTF-8").lines().skip(1).collect::<Vec<_>>().join("\n")
    }

    fn counts(&self) -> String {
        self.query("select count(*), count(distinct n) from probe.readings")
    }
}

/// Files of every form; the first is cut into several bodies.
fn files(folder: &Path) -> Vec<String> {
    let files: [(&str, Vec<u8>); 7] = [
        ("a.ndjson", records(0..400_000).into_bytes()),
        ("b.csv.gz", packed(Packing::Gzip, csv(400_000..400_010).as_bytes())),
        ("c.jsonl.zst", packed(Packing::Zstd, records(400_010..400_020).as_bytes())),
        ("d.json", array(400_020..400_030).into_bytes()),
        ("e.json.gz", packed(Packing::Gzip, array(400_030..400_040).as_bytes())),
        ("f.parquet", parquet(400_040..400_050)),
        ("g.arrow", stream(400_050..400_060)),
    ];
    let write = |(name, bytes): (&str, Vec<u8>)| {
        let path = folder.join(name);
        fs::write(&path, bytes).expect("writes");
        path.into_os_string().into_string().expect("UTF-8")
    };
    files.map(write).to_vec()
}

/// Takes the files and standard input in, twice; they must be in the table once.
fn takes_each_once(asked: &Asked<'_>, files: &[String], before: &str) {
    let words: Vec<&str> = files.iter().map(String::as_str).chain(["--wait"]).collect();
    let small = std::iter::repeat_n((10, 0), files.len() - 1);
    let wanted: Vec<_> = std::iter::once((400_000, 0)).chain(small).collect();
    assert_eq!(asked.counts(), before);
    for _ in 0..2 {
        assert_eq!(asked.ingest(&words, b""), wanted);
        let bad = b"place,n\nTW,500000\nXX,500001\n";
        assert_eq!(asked.ingest(&["-", "--wait"], bad), [(1, 1)]);
        let binary = parquet(500_001..500_003);
        assert_eq!(asked.ingest(&["-", "--wait"], &binary), [(2, 0)]);
        assert_eq!(asked.counts(), "400063,400063");
        assert_eq!(asked.query("select source, count(*) from probe.readings__rejected group by 1"), "-,1");
    }
}

#[test]
fn each_content_is_taken_once_by_a_daemon_and_without_one() {
    let lake = Lake::new(&[]);
    let files = files(lake.folder.path());
    takes_each_once(&Asked(&["--url", &lake.daemon.url], &[]), &files, "0,0");
    let path = lake.path().into_os_string().into_string().expect("UTF-8");
    let Lake { folder, daemon, .. } = lake;
    assert!(daemon.stop());
    let elsewhere = Asked(&["--lake", &path], &[]).run(&[&files[5]], b"");
    let said = String::from_utf8_lossy(&elsewhere.stderr);
    assert!(elsewhere.status.code() == Some(2) && said.contains("--schemas"), "{said}");
    let schemas = folder.path().join("schemas").into_os_string().into_string().expect("UTF-8");
    let asked = Asked(&["--lake", &path], &["--schemas", &schemas]);
    takes_each_once(&asked, &files, "400063,400063");
    assert_eq!(asked.ingest(&[&files[5], "--again"], b""), [(10, 0)]);
    assert_eq!(asked.counts(), "400073,400063");
}

#[test]
fn a_lake_takes_each_content_once_from_the_start() {
    let lake = Lake::new(&[]);
    let path = lake.path().into_os_string().into_string().expect("UTF-8");
    let Lake { folder, daemon, .. } = lake;
    assert!(daemon.stop());
    let schemas = folder.path().join("schemas").into_os_string().into_string().expect("UTF-8");
    takes_each_once(&Asked(&["--lake", &path], &["--schemas", &schemas]), &files(folder.path()), "0,0");
}

#[test]
fn what_is_refused_says_why_and_is_not_offered_again() {
    let lake = Lake::new(&[]);
    let asked = Asked(&["--url", &lake.daemon.url], &[]);
    for (name, input, words) in [
        ("csv", &b"place,m\nTW,1\n"[..], "`m`"),
        ("ndjson", &b"{\"n\":1}\n".repeat(50), "nothing was kept"),
        ("parquet", b"PAR1 and no more", "Parquet"),
        ("ndjson.gz", b"no gzip at all, whatever it says", "gzip"),
    ] {
        let output = asked.run(&["-", "--format", name], input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(words), "{name}: {words}: {said}");
    }
    assert_eq!(asked.counts(), "0,0");
}
