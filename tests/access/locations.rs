//! Where clients may have files lie: the warehouse and the roots allowed besides, and nowhere else.

use serde_json::{Value, json};

use super::Guarded;

const SCHEMA: &str = r#"{"type":"struct","fields":[{"id":1,"name":"n","required":false,"type":"long"}]}"#;

struct Place {
    guarded: Guarded,
    /// A folder that is allowed besides, and one that is not, as locations.
    allowed: String,
    outside: String,
    token: String,
    _folders: [tempfile::TempDir; 2],
}

fn place() -> Place {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let [allowed, outside] = [0, 1].map(|n: usize| format!("file://{}", folders[n].path().display()));
    let guarded = Guarded::with(&[("ACCESS_LOCATIONS", &allowed)]);
    let token = guarded.token("writer", &[]).text;
    Place { guarded, allowed, outside, token, _folders: folders }
}

impl Place {
    fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let answer = self.guarded.send("POST", path, Some(&self.token), body);
        (answer.status, answer.body)
    }

    fn create(&self, name: &str, more: &Value) -> (u16, String) {
        let mut body = json!({ "name": name, "schema": serde_json::from_str::<Value>(SCHEMA).expect("JSON") });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        self.post("/v1/namespaces/n/tables", &body)
    }
}

#[test]
fn what_lies_outside_is_refused_with_the_reason_and_what_is_allowed_is_not() {
    let place = place();
    let Place { allowed, outside, .. } = &place;
    let link = format!("{}/link", allowed.trim_start_matches("file://"));
    std::os::unix::fs::symlink(outside.trim_start_matches("file://"), &link).expect("links");
    let bad = [
        (format!("{outside}/t"), 403),
        (format!("{allowed}-beside/t"), 403),
        (format!("{allowed}/../t"), 400),
        (format!("{allowed}/link/t"), 403),
        ("s3://bucket/t".to_owned(), 400),
        ("file://host/t".to_owned(), 400),
        ("/etc".to_owned(), 400),
    ];
    assert_eq!(place.post("/v1/namespaces", &json!({ "namespace": ["n"] })).0, 200);
    assert_eq!(place.create("t", &json!({ "location": format!("{allowed}/t") })).0, 200);
    assert_eq!(place.create("u", &json!({})).0, 200);
    let commit =
        |updates: Value| place.post("/v1/namespaces/n/tables/t", &json!({ "requirements": [], "updates": updates }));
    for (n, (location, status)) in bad.iter().enumerate() {
        let new = format!("x{n}");
        let named = json!({ "namespace": [new], "properties": { "location": location } });
        let data = json!({ "properties": { "write.data.path": location } });
        let metadata = json!({ "properties": { "write.metadata.path": location } });
        let snapshot = json!({
            "snapshot-id": 1, "sequence-number": 1, "timestamp-ms": 1_700_000_000_000_i64, "schema-id": 0,
            "manifest-list": location, "summary": { "operation": "append" },
        });
        let view = json!({
            "name": new, "location": location, "properties": {},
            "schema": serde_json::from_str::<Value>(SCHEMA).expect("JSON"),
            "view-version": {
                "version-id": 1, "schema-id": 0, "timestamp-ms": 1, "summary": {}, "default-namespace": ["n"],
                "representations": [{ "type": "sql", "sql": "select 1", "dialect": "x" }],
            },
        });
        let tries = [
            place.post("/v1/namespaces", &named),
            place.post("/v1/namespaces/n/properties", &json!({ "updates": { "location": location } })),
            place.create(&new, &json!({ "location": location })),
            place.create(&new, &json!({ "location": location, "stage-create": true })),
            place.create(&new, &data),
            place.create(&new, &metadata),
            place.post("/v1/namespaces/n/register", &json!({ "name": new, "metadata-location": location })),
            place.post("/v1/namespaces/n/register-view", &json!({ "name": new, "metadata-location": location })),
            place.post("/v1/namespaces/n/views", &view),
            commit(json!([{ "action": "set-location", "location": location }])),
            commit(json!([{ "action": "set-properties", "updates": { "write.data.path": location } }])),
            commit(json!([{ "action": "add-snapshot", "snapshot": snapshot }])),
        ];
        for (at, (found, said)) in tries.iter().enumerate() {
            assert_eq!(found, status, "{location}, try {at}: {said}");
            assert!(*status != 403 || said.contains("allow-location") || said.contains("symbolic link"), "{said}");
        }
    }
    let inside = std::fs::read_dir(outside.trim_start_matches("file://")).expect("a folder").count();
    assert_eq!(inside, 0, "nothing was written there");
}

/// A table that names a foreign file may be dropped and purged; the file stays.
#[test]
fn a_registered_table_reaches_nothing_outside() {
    let place = place();
    let Place { allowed, outside, .. } = &place;
    assert_eq!(place.post("/v1/namespaces", &json!({ "namespace": ["n"] })).0, 200);
    let (status, made) = place.create("t", &json!({ "location": format!("{allowed}/t") }));
    assert_eq!(status, 200, "{made}");
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let victim = format!("{}/victim.metadata.json", outside.trim_start_matches("file://"));
    std::fs::write(&victim, "precious").expect("writes");
    let mut metadata = made["metadata"].clone();
    metadata["metadata-log"] = json!([{ "timestamp-ms": 1, "metadata-file": format!("file://{victim}") }]);
    let forged = format!("{}/forged.metadata.json", allowed.trim_start_matches("file://"));
    std::fs::write(&forged, metadata.to_string()).expect("writes");
    let register = json!({ "name": "f", "metadata-location": format!("file://{forged}") });
    let (status, said) = place.post("/v1/namespaces/n/register", &register);
    assert_eq!(status, 403, "{said}");
    assert_eq!(std::fs::read_to_string(&victim).expect("is there"), "precious");
}

#[test]
fn a_scope_reaches_no_other_namespaces_files() {
    let place = place();
    let theirs: Vec<Value> = ["n", "o"]
        .map(|name| {
            assert_eq!(place.post("/v1/namespaces", &json!({ "namespace": [name] })).0, 200);
            let body = json!({ "name": "t", "schema": serde_json::from_str::<Value>(SCHEMA).expect("JSON") });
            let (status, made) = place.post(&format!("/v1/namespaces/{name}/tables"), &body);
            assert_eq!(status, 200, "{made}");
            serde_json::from_str(&made).expect("JSON")
        })
        .into();
    let scoped = place.guarded.token("writer", &["--namespace", "n"]).text;
    let post = |path: &str, body: &Value| {
        let answer = place.guarded.send("POST", path, Some(&scoped), body);
        (answer.status, answer.body)
    };
    let file = |at: usize| theirs[at]["metadata-location"].as_str().expect("text").to_owned();
    let folder = |at: usize| theirs[at]["metadata"]["location"].as_str().expect("text").to_owned();
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    let register = |at: usize, name: &str| json!({ "name": name, "metadata-location": file(at) });
    let located = |location: String| json!({ "name": "x", "schema": schema, "location": location });
    assert_eq!(post("/v1/namespaces/n/register", &register(1, "r")).0, 403);
    assert_eq!(post("/v1/namespaces/n/tables", &located(folder(1))).0, 403);
    assert_eq!(post("/v1/namespaces/n/tables", &located(format!("{}/x", place.allowed))).0, 403);
    let away = json!({ "updates": [{ "action": "set-location", "location": folder(1) }], "requirements": [] });
    assert_eq!(post("/v1/namespaces/n/tables/t", &away).0, 403);
    let named = json!({ "updates": { "location": folder(1) } });
    assert_eq!(post("/v1/namespaces/n/properties", &named).0, 403);
    // His own is his.
    assert_eq!(post("/v1/namespaces/n/register", &register(0, "r")).0, 200);
    assert_eq!(post("/v1/namespaces/n/tables", &located(format!("{}-x", folder(0)))).0, 200);
}
