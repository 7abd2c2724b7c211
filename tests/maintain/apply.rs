//! `lakectl plan` and `lakectl apply`: what a new version of a contract makes of a table, and what it may not.

use std::fs;

use serde_json::{Value, json};

use super::{Lake, TABLE};
use crate::kit::readings::CONTRACT;

/// The contract's next version: a column more, a value more, a wider range.
pub fn second() -> String {
    let next = CONTRACT.replace("version = 1", "version = 2").replace("\"JP\"]", "\"JP\", \"KR\"]");
    next.replace("1000000]", "2000000]") + "note = { type = \"string\", doc = \"Why.\" }\n"
}

impl Lake {
    pub fn write_contract(&self, text: &str) {
        fs::write(self.folder.contract(), text).expect("writes");
    }

    /// `lakectl VERB … --schemas` the lake's own.
    pub fn contracts(&self, verb: &str, more: &[&str]) -> (i32, String, String) {
        let schemas = self.folder.schemas();
        self.run(&[&[verb, "--schemas", schemas.to_str().expect("UTF-8")], more].concat())
    }

    fn plan(&self, more: &[&str]) -> Value {
        let (_, out, complaint) = self.contracts("plan", &[more, &["--output", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {complaint}"))
    }
}

#[test]
fn a_new_version_is_planned_applied_and_then_there_is_nothing_left() {
    let mut lake = Lake::new();
    lake.send(0..1);
    let (code, same, _) = lake.contracts("plan", &["--check"]);
    assert!(code == 0 && same.contains("version 1, nothing to apply"), "{code} {same}");
    for (stopped, version) in [(false, 2), (true, 3)] {
        if stopped {
            lake.stop();
        }
        let text = second().replace("version = 2", &format!("version = {version}"));
        lake.write_contract(&if stopped { text.replace("note = {", "remark = { was = \"note\",") } else { text });
        let before = lake.metadata()["current-schema-id"].clone();
        let (code, shown, _) = lake.contracts("plan", &["--check"]);
        let line = if stopped { "- note: string -- Why." } else { "+ note: string -- Why." };
        assert!(code == 1 && shown.contains(line), "{code} {shown}");
        assert!(shown.contains(&format!("version {} -> {version}", version - 1)), "{shown}");
        let (code, dry, _) = lake.contracts("apply", &["--dry-run"]);
        assert!(code == 0 && dry == shown, "{dry}");
        assert_eq!(lake.metadata()["current-schema-id"], before);
        let (code, done, complaint) = lake.contracts("apply", &[]);
        assert!(code == 0 && done.contains("1 changed"), "{done} {complaint}");
        let properties = lake.metadata()["properties"].clone();
        assert_eq!(properties["laked.contract.version"], json!(version.to_string()));
        assert_eq!(
            properties["laked.contract.text"],
            json!(fs::read_to_string(lake.folder.contract()).expect("reads"))
        );
        assert_eq!(lake.plan(&[])["changes"], json!(false));
        let lock = fs::read_to_string(lake.folder.schemas().join("contracts.lock")).expect("reads");
        assert_eq!(lock.matches("probe.readings").count(), version - 1, "{lock}");
    }
}

#[test]
fn what_would_break_readers_or_a_published_version_is_refused_and_changes_nothing() {
    let mut lake = Lake::new();
    lake.send(0..1);
    lake.write_contract(&second());
    assert_eq!(lake.contracts("apply", &[]).0, 0);
    for stopped in [false, true] {
        if stopped {
            lake.stop();
        }
        let next = second().replace("version = 2", "version = 3");
        for (text, said) in [
            (second().replace("Why.", "Who."), "version 2 was published with another text: raise the version to 3"),
            (CONTRACT.to_owned(), "version 2 was published after version 1"),
            (next.replace("at = \"timestamptz\"", "at = \"string\""), "`at` is timestamptz in the table"),
            (next.replace("place = {", "plaze = {"), "no field `place`"),
            (next.replace("note =", "Place ="), "Place"),
        ] {
            lake.write_contract(&text);
            // Any commit makes a new metadata file.
            let location = || lake.json(&["table", "show", TABLE])["metadata-location"].clone();
            let before = location();
            let (code, out, complaint) = lake.contracts("apply", &[]);
            assert!(code == 2 && out.is_empty() && complaint.contains(said), "{said}: {code} {complaint}");
            let (code, out, complaint) = lake.contracts("plan", &[]);
            assert!(code == 2 && format!("{out}{complaint}").contains(said), "{said}: {code} {out} {complaint}");
            assert_eq!(location(), before, "{said}");
        }
    }
    lake.write_contract(&second());
    let (code, _, complaint) = lake.contracts("apply", &["probe.nothing"]);
    assert!(code == 2 && complaint.contains("there are probe.readings"), "{complaint}");
}

#[test]
fn a_layout_is_shown_and_left_to_the_table_and_strangers_are_named() {
    let lake = Lake::new();
    lake.send(0..1);
    lake.lakectl(&["evolve-partition", TABLE, "month(at)"]);
    let spec = lake.metadata()["default-spec-id"].clone();
    lake.write_contract(&second());
    let fresh = lake.folder.schemas().join("probe/fresh.toml");
    fs::write(&fresh, "[fields]\nn = \"long\"\n").expect("writes");
    let (_, shown, _) = lake.contracts("plan", &[]);
    assert!(shown.contains("layout, never applied: partitioned by month(at), by place in the contract"), "{shown}");
    assert_eq!(lake.contracts("apply", &[TABLE]).0, 0);
    assert_eq!(lake.metadata()["default-spec-id"], spec);
    fs::remove_file(fresh).expect("removes");
    let plan = lake.plan(&[]);
    assert_eq!((&plan["changes"], plan["tables"][0]["layout"].as_array().map(Vec::len)), (&json!(false), Some(1)));
}
