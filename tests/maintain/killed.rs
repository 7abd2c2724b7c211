//! The daemon is killed at its n-th rename, sync, unlink while its table is looked after by every verb there is.
//!
//! A life is one round: bodies are sent, into a branch that is published too, a new version of the contract is applied, what
//! was rolled back is picked again, files and manifests are rewritten, the layout changes and old files follow, snapshots
//! expire, orphans go. Whoever finds the daemon dead leaves it at that; the next life
//! does it again, and dies some calls later, until one lives through its round. Then every number is there once, the lake is
//! sound, and nothing is left that no snapshot needs.

use std::process::Command;

use serde_json::{Value, json};

use super::{BODY, Lake, TABLE, body, get, post};
use crate::kill::strace;
use crate::kit::daemon::Daemon;
use crate::kit::readings::CONTRACT;

/// Bodies that are sent in all.
const BODIES: u64 = 14;

struct Life {
    lake: Lake,
    /// The next body.
    next: u64,
    /// The snapshot that was rolled back, and is to be picked again.
    aside: Option<String>,
    rounds: usize,
    /// The next version of the contract.
    version: u32,
    /// Whether records go into a branch.
    branch: bool,
}

impl Life {
    /// A daemon that dies at its `nth` call; none if it does before it listens.
    fn begins(&mut self, nth: u64) -> bool {
        let served = self.lake.folder.served();
        let mut command = Command::new("strace");
        command.args(strace(nth)).arg(served.get_program()).args(served.get_args()).args(["--commit-age", "50ms"]);
        self.lake.daemon = Daemon::spawn(command).ok();
        self.lake.daemon.is_some()
    }

    fn lives(&self) -> bool {
        get(&format!("{}/health", self.lake.url())).is_ok()
    }

    /// Runs a verb: whether the daemon lived through it. Gives what it printed.
    fn asks(&self, words: &[&str]) -> Option<String> {
        self.told(words, self.lake.run(words))
    }

    fn told(&self, words: &[&str], (code, out, complaint): (i32, String, String)) -> Option<String> {
        match code {
            0 => Some(out),
            _ if complaint.contains("already") || complaint.contains("there is no branch") => Some(out),
            _ => {
                assert!(!self.lives(), "{words:?}: {complaint}");
                None
            }
        }
    }

    /// Sends the next body, with its key; none when all are sent.
    fn sends(&mut self) -> Option<()> {
        if self.next == BODIES {
            return Some(());
        }
        let url = format!("{}/ingest/{}?wait=committed", self.lake.url(), TABLE.replace('.', "/"));
        let key = format!("00000000-0000-7000-8000-{:012}", self.next);
        let headers = [("Content-Type", "application/x-ndjson"), ("Idempotency-Key", key.as_str())];
        let answer = post(&url, &headers, body(self.next).as_bytes()).ok()?;
        if answer.status == 503 {
            return None;
        }
        assert_eq!(answer.status, 200, "{}", answer.body);
        self.next += 1;
        Some(())
    }

    /// Takes the last commit out of sight, if it is one of ingestion's.
    fn rolls_back(&mut self) -> Option<()> {
        let shown: Value = serde_json::from_str(&self.asks(&["table", "show", TABLE, "--output", "json"])?).ok()?;
        let metadata = &shown["metadata"];
        let snapshots = metadata["snapshots"].as_array().expect("snapshots");
        let find = |id: &Value| snapshots.iter().find(|snapshot| snapshot["snapshot-id"] == *id);
        let current = find(&metadata["current-snapshot-id"]).expect("one is current");
        if current["summary"]["operation"] == "append" && find(&current["parent-snapshot-id"]).is_some() {
            self.aside = Some(current["snapshot-id"].to_string());
            self.asks(&["rollback", TABLE, "--to", &current["parent-snapshot-id"].to_string()])?;
        }
        Some(())
    }

    /// Applies a version that lets in more, until that is answered.
    fn applies(&mut self) -> Option<()> {
        let text = CONTRACT.replace("version = 1\n", &format!("version = {}\n", self.version));
        self.lake.write_contract(&text.replace("1000000", &format!("{}", 1_000_000 + self.version)));
        self.told(&["apply"], self.lake.contracts("apply", &[]))?;
        self.version += 1;
        Some(())
    }

    /// Sends a body into a branch, and publishes and drops that. Nothing else is done before that is over.
    fn publishes(&mut self) -> Option<()> {
        if self.next == BODIES && !self.branch {
            return Some(());
        }
        self.branch = true;
        self.takes_into("audit")?;
        self.sends()?;
        self.asks(&["publish", TABLE])?;
        self.takes_into("main")?;
        self.asks(&["branch", "drop", TABLE, "audit"])?;
        self.branch = false;
        Some(())
    }

    fn takes_into(&self, branch: &str) -> Option<()> {
        let updates = json!([{ "action": "set-properties", "updates": { "laked.ingest.branch": branch } }]);
        let change = json!({ "requirements": [], "updates": updates }).to_string();
        let url = format!("{}/v1/namespaces/probe/tables/readings", self.lake.url());
        let answer = post(&url, &[("Content-Type", "application/json")], change.as_bytes()).ok()?;
        (answer.status == 200).then_some(())
    }

    fn picks(&mut self) -> Option<()> {
        if let Some(aside) = &self.aside {
            self.asks(&["cherry-pick", TABLE, aside])?;
            self.aside = None;
        }
        Some(())
    }

    fn round(&mut self) -> Option<()> {
        self.publishes()?;
        self.applies()?;
        self.picks()?;
        self.sends()?;
        self.sends()?;
        self.rolls_back()?;
        self.sends()?;
        self.picks()?;
        self.asks(&["compact", TABLE])?;
        self.sends()?;
        self.asks(&["rewrite-manifests", TABLE])?;
        self.rounds += 1;
        let spec = ["place, month(at)", "place"][self.rounds % 2];
        self.asks(&["evolve-partition", TABLE, spec, "--rewrite", ""])?;
        self.asks(&["branch", "create", TABLE, "kept"])?;
        self.asks(&["expire", TABLE, "--older-than", "0s", "--grace", "0s"])?;
        self.asks(&["remove-orphans", TABLE, "--older-than", "0s", "--force"])?;
        self.lives().then_some(())
    }
}

#[test]
fn killed_at_any_call_while_its_table_is_looked_after_it_loses_and_doubles_nothing() {
    let mut life = Life { lake: Lake::new(), next: 0, aside: None, rounds: 0, version: 2, branch: false };
    life.lake.send(0..1);
    life.lake.stop();
    life.next = 1;
    let (mut nth, mut deaths) = (1, 0);
    while !(life.begins(nth) && life.round().is_some() && life.next == BODIES) {
        life.lake.daemon = None;
        (nth, deaths) = (nth + 1, deaths + 1);
        assert!(deaths < 120, "it gets no further");
    }
    println!("{deaths} deaths, the last at call {nth}");
    assert!(deaths >= 8, "{deaths} deaths: the sweep tried too little");
    life.lake.stop();
    let lake = &life.lake;
    assert_eq!(lake.numbers(), (0..BODIES * BODY).collect::<Vec<_>>());
    assert_eq!(lake.json(&["remove-orphans", TABLE, "--older-than", "0s", "--force", "--dry-run"])["files"], 0);
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], json!([]));
}
