//! Every JSON body, made wrong: missing, extra, huge, of another type, deep, doubled, cut off. Never a 500, never a panic.
//!
//! A case is a number: the body it makes is the same on every machine, so a failure's number is all it takes to see it
//! again (`FUZZ_FIRST=N FUZZ_CASES=1`). `make test` runs 20,000 cases, `make fuzz` a million.

use serde_json::{Value, json};

use super::{Client, create, passthrough, views};
use crate::store::SimulatedDisk;
use crate::system::System;

/// Cases after which the catalog is begun anew: what a case changed should not shield it from later ones for ever.
const ERA: u64 = 400;

/// Cases, unless `FUZZ_CASES` says otherwise.
const CASES: u64 = 20_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).expect("fits")).expect("fits")
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

fn snapshot(id: i64) -> Value {
    json!({"snapshot-id": id, "sequence-number": id, "timestamp-ms": 1_900_000_000_000_i64 + id, "schema-id": 0,
        "manifest-list": "file:///none/s.avro", "summary": {"operation": "append", "added-rows": "1"},
        "first-row-id": 0, "added-rows": 1, "parent-snapshot-id": null, "key-id": "k"})
}

/// Every kind of update, each fitting a table of one column that has no snapshot yet, or nearly.
fn updates() -> Vec<Value> {
    let schema = json!({"type": "struct", "schema-id": 1, "identifier-field-ids": [1], "fields": [
        {"id": 1, "name": "id", "required": true, "type": "long", "initial-default": 1, "write-default": 2, "doc": "d"},
        {"id": 2, "name": "m", "required": false, "type": {"type": "map", "key-id": 3, "key": "string", "value-id": 4,
            "value": {"type": "list", "element-id": 5, "element": "decimal(9, 2)", "element-required": false},
            "value-required": false}},
        {"id": 6, "name": "s", "required": false, "type": {"type": "struct", "fields":
            [{"id": 7, "name": "x", "required": false, "type": "fixed[4]", "initial-default": "00010203"}]}},
        {"id": 8, "name": "g", "required": false, "type": "geometry(srid:4326)"}]});
    let blob = json!({"type": "t", "snapshot-id": 1, "sequence-number": 1, "fields": [1], "properties": {"a": "b"}});
    let file = json!({"snapshot-id": 1, "statistics-path": "file:///none/p", "file-size-in-bytes": 1,
        "file-footer-size-in-bytes": 1, "blob-metadata": [blob]});
    vec![
        json!({"action": "assign-uuid", "uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1"}),
        json!({"action": "upgrade-format-version", "format-version": 3}),
        json!({"action": "add-schema", "schema": schema, "last-column-id": 8}),
        json!({"action": "set-current-schema", "schema-id": -1}),
        json!({"action": "add-spec", "spec": {"spec-id": 1, "fields":
            [{"name": "p", "transform": "bucket[4]", "source-id": 1, "field-id": 1000}]}}),
        json!({"action": "set-default-spec", "spec-id": -1}),
        json!({"action": "add-sort-order", "sort-order": {"order-id": 1, "fields":
            [{"transform": "truncate[2]", "source-id": 1, "direction": "desc", "null-order": "nulls-last"}]}}),
        json!({"action": "set-default-sort-order", "sort-order-id": -1}),
        json!({"action": "add-snapshot", "snapshot": snapshot(1)}),
        json!({"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 1,
            "max-ref-age-ms": 1, "max-snapshot-age-ms": 1, "min-snapshots-to-keep": 1}),
        json!({"action": "remove-snapshots", "snapshot-ids": [1]}),
        json!({"action": "remove-snapshot-ref", "ref-name": "main"}),
        json!({"action": "set-location", "location": "file:///warehouse/n/t"}),
        json!({"action": "set-properties", "updates": {"write.metadata.previous-versions-max": "3"}}),
        json!({"action": "remove-properties", "removals": ["k"]}),
        json!({"action": "set-statistics", "snapshot-id": 1, "statistics": file}),
        json!({"action": "remove-statistics", "snapshot-id": 1}),
        json!({"action": "set-partition-statistics", "partition-statistics": file}),
        json!({"action": "remove-partition-statistics", "snapshot-id": 1}),
        json!({"action": "remove-partition-specs", "spec-ids": [1]}),
        json!({"action": "remove-schemas", "schema-ids": [1]}),
        json!({"action": "add-encryption-key", "encryption-key":
            {"key-id": "k", "encrypted-key-metadata": "a2V5", "encrypted-by-id": "m", "properties": {}}}),
        json!({"action": "remove-encryption-key", "key-id": "k"}),
    ]
}

fn requirements() -> Vec<Value> {
    vec![
        json!({"type": "assert-create"}),
        json!({"type": "assert-table-uuid", "uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1"}),
        json!({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": null}),
        json!({"type": "assert-last-assigned-field-id", "last-assigned-field-id": 1}),
        json!({"type": "assert-current-schema-id", "current-schema-id": 0}),
        json!({"type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 999}),
        json!({"type": "assert-default-spec-id", "default-spec-id": 0}),
        json!({"type": "assert-default-sort-order-id", "default-sort-order-id": 0}),
    ]
}

fn some(random: &mut Random, of: &[Value], most: usize) -> Vec<Value> {
    (0..random.below(most + 1)).map(|_| random.pick(of)).collect()
}

fn commit(random: &mut Random) -> Value {
    let (updates, requirements) = (updates(), requirements());
    let ident = json!({"namespace": ["n"], "name": "t"});
    json!({"identifier": ident, "requirements": some(random, &requirements, 1), "updates": some(random, &updates, 6)})
}

fn new_table(random: &mut Random) -> Value {
    let mut request = create(&format!("t{}", random.below(9)));
    request["schema"] = updates()[2]["schema"].clone();
    request["partition-spec"] = updates()[4]["spec"].clone();
    request["write-order"] = updates()[6]["sort-order"].clone();
    request["stage-create"] = json!(random.below(2) == 0);
    request["properties"] = json!({"format-version": random.pick(&["1", "2", "3"]), "a": "b"});
    request
}

fn report(random: &mut Random) -> Value {
    let counter = json!({"unit": "count", "value": 3});
    let timer = json!({"time-unit": "nanoseconds", "count": 1, "total-duration": 55});
    let metrics = json!({"total-planning-duration": timer, "result-data-files": counter, "x": counter});
    random.pick(&[
        json!({"report-type": "scan-report", "table-name": "n.t", "snapshot-id": 1, "filter": true, "schema-id": 0,
            "projected-field-ids": [1], "projected-field-names": ["id"], "metrics": metrics, "metadata": {"a": "b"}}),
        json!({"report-type": "commit-report", "table-name": "n.t", "snapshot-id": 1, "sequence-number": 1,
            "operation": "append", "metrics": metrics, "metadata": {"a": "b"}}),
    ])
}

fn replaced_view(random: &mut Random) -> Value {
    let made = views::create("v");
    let all = [
        json!({"action": "assign-uuid", "uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1"}),
        json!({"action": "upgrade-format-version", "format-version": 1}),
        json!({"action": "add-schema", "schema": made["schema"], "last-column-id": 1}),
        json!({"action": "set-location", "location": "file:///warehouse/n/v"}),
        json!({"action": "set-properties", "updates": {"replace.drop-dialect.allowed": "true"}}),
        json!({"action": "remove-properties", "removals": ["k"]}),
        json!({"action": "add-view-version", "view-version": made["view-version"]}),
        json!({"action": "set-current-view-version", "view-version-id": -1}),
    ];
    let uuid = json!({"type": "assert-view-uuid", "uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1"});
    json!({"requirements": some(random, &[uuid], 1), "updates": some(random, &all, 4)})
}

/// A request that means something: method, path, body.
fn request(random: &mut Random) -> (&'static str, String, Value) {
    let table = random.pick(&["t", "t1", "none"]);
    let rename = |from: &str, to: &str| json!({"source": {"namespace": ["n"], "name": from}, "destination": {"namespace": ["n"], "name": to}});
    let register = json!({"name": "r", "metadata-location": "file:///none/x.metadata.json", "overwrite": true});
    let (path, body) = match random.below(14) {
        0 => ("namespaces".into(), json!({"namespace": ["m", "k"], "properties": {"a": "b"}})),
        1 => ("namespaces/n/properties".into(), json!({"removals": ["a"], "updates": {"b": "c"}})),
        2 => ("namespaces/n/tables".into(), new_table(random)),
        3 => ("namespaces/n/register".into(), register),
        4..=7 => (format!("namespaces/n/tables/{table}"), commit(random)),
        8 => ("tables/rename".into(), rename("t1", "t2")),
        9 => ("transactions/commit".into(), json!({"table-changes": [commit(random), commit(random)]})),
        10 => ("namespaces/n/views".into(), views::create(random.pick(&["v", "w"]))),
        11 => ("namespaces/n/views/v".into(), replaced_view(random)),
        12 => ("views/rename".into(), rename("w", "u")),
        _ => (format!("namespaces/n/tables/{table}/metrics"), report(random)),
    };
    ("POST", format!("/v1/{path}"), body)
}

/// Numbers at their ends.
fn numbers() -> Vec<Value> {
    vec![
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(i32::MAX),
        json!(i32::MIN),
        json!(1e308),
        json!(-0.5),
        json!(2_147_483_648_i64),
        json!(999),
        json!(1000),
    ]
}

/// A value that nobody expects.
fn junk(random: &mut Random) -> Value {
    let text = [
        "",
        "\u{0}",
        "..",
        "../../x",
        "a/b",
        "ü\u{1f}ß",
        "file:///warehouse/../x",
        "s3://b/k",
        "%2F",
        "1",
        "-1",
        "main",
        "null",
        "fixed[0]",
        "fixed[99999999999999999999]",
        "decimal(99, 200)",
        "decimal(-1,2)",
        "bucket[0]",
        "truncate[0]",
        "bucket[99999999999]",
        "variant",
        "unknown",
        "void",
        "hour",
        "gzip",
        "true",
    ];
    match random.below(9) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 | 3 => random.pick(&numbers()),
        4 | 5 => json!(random.pick(&text)),
        6 => random.pick(&[json!([]), json!({}), json!([[]]), json!([null]), json!({"a": null})]),
        7 => json!("x".repeat(1 << random.below(14))),
        _ => (0..random.below(140))
            .fold(json!(1), |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({"k": inner}) }),
    }
}

/// Changes one place of a value, chosen by descending into it.
fn spoil(value: &mut Value, random: &mut Random) {
    let deeper = random.below(4) > 0;
    match value {
        Value::Object(fields) if !fields.is_empty() && deeper => {
            let at = random.below(fields.len());
            if let Some(inner) = fields.values_mut().nth(at) {
                spoil(inner, random);
            }
        }
        Value::Array(items) if !items.is_empty() && deeper => {
            let at = random.below(items.len());
            spoil(&mut items[at], random);
        }
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            match random.below(4) {
                0 if !names.is_empty() => drop(fields.remove(&random.pick(&names))),
                1 => drop(fields.insert("strange".into(), junk(random))),
                2 => *value = junk(random),
                _ if !names.is_empty() => drop(fields.insert(random.pick(&names), junk(random))),
                _ => {}
            }
        }
        Value::Array(items) => match random.below(4) {
            0 if !items.is_empty() => drop(items.remove(random.below(items.len()))),
            1 if !items.is_empty() => {
                let doubled = random.pick(items);
                items.extend(std::iter::repeat_n(doubled, 1 << random.below(6)));
            }
            2 => items.push(junk(random)),
            _ => *value = junk(random),
        },
        other => *other = junk(random),
    }
}

/// Changes the text itself.
fn spoil_text(text: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(text.len());
    match random.below(6) {
        0 => text.truncate(at),
        1 => text[at] = text[at].wrapping_add(1 + u8::try_from(random.below(255)).expect("a byte")),
        2 => {
            // A field twice.
            let whole = String::from_utf8_lossy(text).into_owned();
            let inner = whole.trim_start_matches('{').trim_end_matches('}');
            *text = format!("{{{inner},{inner}}}").into_bytes();
        }
        3 => {
            let deep = [b"[".repeat(20_000), b"]".repeat(20_000)].concat();
            text.splice(at..at, deep);
        }
        4 => drop(
            text.splice(at..at, random.pick(&[&b"\xff\xfe"[..], b"\"", b"NaN", b"1e999", b"-", b"\\u0000"]).to_vec()),
        ),
        _ => text.extend_from_slice(b"{}"),
    }
}

/// The case of that number.
fn case(number: u64) -> (&'static str, String, Vec<u8>) {
    let mut random = Random(number.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let (method, path, mut body) = request(&mut random);
    for _ in 0..random.below(4) {
        spoil(&mut body, &mut random);
    }
    let mut text = serde_json::to_vec(&body).expect("JSON");
    if random.below(8) == 0 {
        spoil_text(&mut text, &mut random);
    }
    (method, path, text)
}

async fn fresh() -> Client {
    let system = System { disk: std::sync::Arc::new(SimulatedDisk::new()), ..System::real() };
    let client = Client::in_memory(system);
    client.post("/v1/namespaces", json!({"namespace": ["n"]})).await.ok();
    client.post("/v1/namespaces/n/tables", create("t")).await.ok();
    client.post("/v1/namespaces/n/views", views::create("v")).await.ok();
    client
}

/// Runs cases; how many of them succeeded, and how many were refused.
async fn run(first: u64, cases: u64) -> (u64, u64) {
    let (mut done, mut refused) = (0, 0);
    let mut client = fresh().await;
    for number in first..first + cases {
        if number % ERA == 0 {
            client = fresh().await;
        }
        let (method, path, body) = case(number);
        let shown = String::from_utf8_lossy(&body[..body.len().min(4000)]).into_owned();
        let answer = client.tried(method, &path, &[], body).await;
        let answer = answer.unwrap_or_else(|error| panic!("case {number}: {method} {path} {shown}\n{error}"));
        assert!(answer.status.as_u16() < 500, "case {number}: {method} {path} {shown}\n{answer:?}");
        if answer.status.is_success() {
            done += 1;
            continue;
        }
        refused += 1;
        let error = &answer.body["error"];
        let shaped =
            error["message"].is_string() && error["type"].is_string() && error["code"] == answer.status.as_u16();
        assert!(shaped, "case {number}: {method} {path} {shown}\n{answer:?}");
    }
    // What was accepted can be read again.
    for path in ["/v1/namespaces/n/tables", "/v1/namespaces/n/views"] {
        client.get(path).await.ok();
    }
    (done, refused)
}

#[tokio::test]
async fn no_body_makes_a_500() {
    let number = |name: &str, or: u64| std::env::var(name).map_or(or, |text| text.parse().expect("a number"));
    let (first, cases) = (number("FUZZ_FIRST", 0), number("FUZZ_CASES", CASES));
    let (done, refused) = run(first, cases).await;
    println!("{cases} cases from {first} on: {done} done, {refused} refused, no 500");
    if cases >= CASES {
        let mixed = done > cases / 10 && refused > cases / 4;
        assert!(mixed, "{done} done, {refused} refused: the cases are too tame, or too wild");
    }
}

/// The paths of all numbers in a value.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, inner)| leaves(inner, &format!("{path}/{key}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, inner)| leaves(inner, &format!("{path}/{at}"), found));
        }
        Value::Number(_) => found.push(path.to_string()),
        _ => {}
    }
}

#[tokio::test]
async fn no_number_at_its_end_makes_a_500() {
    let mut whole = updates();
    whole.retain(|update| !update["action"].as_str().is_some_and(|action| action.starts_with("remove")));
    whole.retain(|update| update["action"] != "assign-uuid");
    let mut again = snapshot(2);
    again["first-row-id"] = json!(1);
    whole.push(json!({"action": "add-snapshot", "snapshot": again}));
    let mut found = Vec::new();
    leaves(&json!(whole), "", &mut found);
    assert!(found.len() > 50, "{found:?}");
    fresh().await.post("/v1/namespaces/n/tables/t", json!({"updates": whole})).await.ok();
    for path in found {
        for number in numbers() {
            let client = fresh().await;
            let mut updates = json!(whole);
            *updates.pointer_mut(&path).expect("is there") = number.clone();
            for updates in [updates, json!(whole)] {
                let answer = client.post("/v1/namespaces/n/tables/t", json!({"updates": updates})).await;
                assert!(answer.status.as_u16() < 500, "{path} {number}: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn no_metadata_file_makes_a_500() {
    let table = "/v1/namespaces/n/tables/r";
    for version in [1, 2, 3] {
        let whole = passthrough::metadata(version);
        let mut found = Vec::new();
        leaves(&whole, "", &mut found);
        let client = fresh().await;
        for (at, path) in found.iter().enumerate() {
            for (nth, number) in numbers().into_iter().enumerate() {
                let mut spoilt = whole.clone();
                *spoilt.pointer_mut(path).expect("is there") = number.clone();
                let location = client.put(&format!("{at}-{nth}.metadata.json"), &spoilt);
                let request = json!({"name": "r", "metadata-location": location, "overwrite": true});
                let registered = client.post("/v1/namespaces/n/register", request).await;
                assert!(registered.status.as_u16() < 500, "{path} {number}: {registered:?}");
                let updates = json!([{"action": "set-location", "location": "file:///warehouse/n/r"}]);
                let answer = client.post(table, json!({"updates": updates})).await;
                assert!(answer.status.as_u16() < 500, "{path} {number}: {answer:?}");
            }
        }
    }
}
