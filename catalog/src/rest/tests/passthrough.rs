//! No field of metadata is lost: on a load, and through commits, whatever the format's version.

use serde_json::{Value, json};

use super::{Client, create, set};

/// Paths of what `before` says and `after` does not. Lists of objects are compared by what identifies their elements.
fn lost(before: &Value, after: &Value, path: &str, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                let path = format!("{path}/{key}");
                match new.get(key) {
                    Some(held) => lost(value, held, &path, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for (at, value) in old.iter().enumerate() {
                let held = match identity(value) {
                    Some(id) => new.iter().find(|held| identity(held) == Some(id)),
                    None => new.get(at),
                };
                match held {
                    Some(held) => lost(value, held, &format!("{path}/{at}"), found),
                    None => found.push(format!("{path}/{at}")),
                }
            }
        }
        _ if before == after => {}
        _ => found.push(path.to_string()),
    }
}

fn identity(value: &Value) -> Option<&Value> {
    ["schema-id", "spec-id", "order-id", "metadata-file", "key-id", "statistics-path", "snapshot-id"]
        .iter()
        .find_map(|key| value.get(key))
}

fn lost_of(before: &Value, after: &Value) -> Vec<String> {
    let mut found = Vec::new();
    lost(before, after, "", &mut found);
    found
}

/// Metadata of that version with a strange field wherever there can be one.
pub fn metadata(version: u8) -> Value {
    let mut schema = json!({"type": "struct", "schema-id": 0, "x-schema": {"deep": [1, 2.5, null]}, "fields": [
        {"id": 1, "name": "id", "required": true, "type": "long", "x-field": 9_007_199_254_740_993_u64},
        {"id": 2, "name": "list", "required": false, "doc": "d", "type":
            {"type": "list", "element-id": 3, "element": "string", "element-required": false, "x-list": "l"}},
    ]});
    let mut snapshot = json!({"snapshot-id": 11, "timestamp-ms": 1_700_000_000_000_i64, "schema-id": 0,
        "manifest-list": "file:///none/snap-11.avro", "summary": {"operation": "append", "x-sum": "1"},
        "x-snapshot": "s"});
    let mut all = json!({"format-version": version, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
        "location": "file:///none/t", "last-updated-ms": 1_700_000_000_000_i64, "last-column-id": 3,
        "current-schema-id": 0, "default-spec-id": 0, "last-partition-id": 1000,
        "partition-specs": [{"spec-id": 0, "x-spec": 1, "fields":
            [{"name": "id_bucket", "transform": "bucket[4]", "source-id": 1, "field-id": 1000, "x-part": true}]}],
        "properties": {"k": "v"}, "current-snapshot-id": 11, "x-top": {"a": [1, {"b": 1.0e300}]},
        "refs": {"main": {"snapshot-id": 11, "type": "branch", "x-ref": 1},
            "kept": {"snapshot-id": 11, "type": "tag", "max-ref-age-ms": 5, "x-tag": "t"}},
        "snapshot-log": [{"snapshot-id": 11, "timestamp-ms": 1_700_000_000_000_i64, "x-log": 1}],
        "metadata-log": [{"metadata-file": "file:///none/0.json", "timestamp-ms": 1_600_000_000_000_i64, "x-m": 1}],
        "sort-orders": [{"order-id": 1, "x-order": 1, "fields": [{"transform": "identity", "source-id": 1,
            "direction": "asc", "null-order": "nulls-first", "x-sort": 1}]}],
        "default-sort-order-id": 1,
        "statistics": [{"snapshot-id": 11, "statistics-path": "file:///none/s.puffin", "file-size-in-bytes": 1,
            "file-footer-size-in-bytes": 1, "x-stat": 1, "blob-metadata": [{"type": "t", "snapshot-id": 11,
            "sequence-number": 1, "fields": [1], "x-blob": 1}]}],
        "partition-statistics": [{"snapshot-id": 11, "statistics-path": "file:///none/p", "file-size-in-bytes": 1,
            "x-pstat": 1}],
    });
    if version > 1 {
        all["last-sequence-number"] = json!(1);
        snapshot["sequence-number"] = json!(1);
    } else {
        all["schema"] = schema.clone();
        all["partition-spec"] = all["partition-specs"][0]["fields"].clone();
        snapshot["manifests"] = json!(null);
    }
    if version == 3 {
        let fields = schema["fields"].as_array_mut().expect("fields");
        fields[0]["initial-default"] = json!(7);
        fields[0]["write-default"] = json!(8);
        fields.push(json!({"id": 4, "name": "v", "required": false, "type": "variant"}));
        fields.push(json!({"id": 5, "name": "g", "required": false, "type": "geometry(srid:4326)"}));
        all["last-column-id"] = json!(5);
        snapshot["first-row-id"] = json!(0);
        snapshot["added-rows"] = json!(10);
        snapshot["key-id"] = json!("key");
        all["next-row-id"] = json!(10);
        all["encryption-keys"] = json!([{"key-id": "key", "encrypted-key-metadata": "a2V5", "x-key": 1}]);
    }
    all["schemas"] = json!([schema]);
    all["snapshots"] = json!([snapshot]);
    all
}

const TABLE: &str = "/v1/namespaces/n/tables/t";

async fn registered(version: u8) -> (Client, Value) {
    let client = Client::new();
    client.post("/v1/namespaces", json!({"namespace": ["n"]})).await.ok();
    let original = metadata(version);
    let location = client.put("00000-a.metadata.json", &original);
    let request = json!({"name": "t", "metadata-location": location});
    let loaded = client.post("/v1/namespaces/n/register", request).await.ok();
    assert_eq!(loaded["metadata"], original, "what was registered is what is served");
    (client, original)
}

fn location_moves(metadata: &mut Value) {
    let home = metadata["x-home"].take();
    metadata["location"] = home;
}

#[tokio::test]
async fn a_commit_loses_no_field() {
    for version in [1, 2, 3] {
        let (client, mut original) = registered(version).await;
        let home = format!("{}/t", client.catalog.warehouse());
        original["x-home"] = json!(home);
        location_moves(&mut original);
        original.as_object_mut().expect("an object").remove("x-home");
        original.as_object_mut().expect("an object").remove("last-updated-ms");
        let moves = json!({"updates": [{"action": "set-location", "location": home}]});
        client.post(TABLE, moves).await.ok();
        let after = client.post(TABLE, set("k", "v")).await.ok()["metadata"].clone();
        assert_eq!(lost_of(&original, &after), Vec::<String>::new(), "format {version}");
        assert_eq!(after["refs"], original["refs"], "format {version}");
        let client = client.restarted();
        client.post(TABLE, set("k", "v")).await.ok();
        let loaded = client.get(TABLE).await.ok();
        assert_eq!(lost_of(&original, &loaded["metadata"]), Vec::<String>::new(), "format {version}, restarted");
    }
}

#[tokio::test]
async fn an_upgrade_of_the_format_loses_no_field() {
    let (client, mut original) = registered(1).await;
    let home = format!("{}/t", client.catalog.warehouse());
    for field in ["schema", "partition-spec", "last-updated-ms", "location", "format-version"] {
        original.as_object_mut().expect("an object").remove(field);
    }
    let updates = json!([{"action": "set-location", "location": home},
        {"action": "upgrade-format-version", "format-version": 2}]);
    client.post(TABLE, json!({"updates": updates})).await.ok();
    let upgrade = json!([{"action": "upgrade-format-version", "format-version": 3}]);
    let after = client.post(TABLE, json!({"updates": upgrade})).await.ok()["metadata"].clone();
    original["snapshots"][0].as_object_mut().expect("an object").remove("manifests");
    assert_eq!(lost_of(&original, &after), Vec::<String>::new());
    assert_eq!((&after["format-version"], after.get("schema")), (&json!(3), None));
    assert_eq!(after["snapshots"][0]["sequence-number"], 0);
}

#[tokio::test]
async fn what_a_request_says_is_kept_even_where_the_crate_has_no_place_for_it() {
    let (client, _) = registered(3).await;
    let home = format!("{}/t", client.catalog.warehouse());
    let schema = json!({"type": "struct", "schema-id": 1, "x-new": 1, "fields": [
        {"id": 1, "name": "id", "required": true, "type": "long"},
        {"id": 6, "name": "m", "required": false, "type": "unknown", "x-m": {"y": 1}}]});
    let snapshot = json!({"snapshot-id": 12, "parent-snapshot-id": 11, "sequence-number": 2, "first-row-id": 10,
        "added-rows": 0, "timestamp-ms": 1_700_000_100_000_i64, "manifest-list": "file:///none/snap-12.avro",
        "summary": {"operation": "append"}, "x-snap": [1]});
    let statistics = json!({"snapshot-id": 12, "statistics-path": "file:///none/s2", "file-size-in-bytes": 1,
        "file-footer-size-in-bytes": 1, "blob-metadata": [], "x-stat": 2});
    let key = json!({"key-id": "two", "encrypted-key-metadata": "a2V5", "x-key": 2});
    let updates = json!([{"action": "set-location", "location": home},
        {"action": "add-schema", "schema": schema, "last-column-id": 6}, {"action": "set-current-schema", "schema-id": -1},
        {"action": "add-snapshot", "snapshot": snapshot},
        {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 12, "x-main": 2},
        {"action": "set-statistics", "statistics": statistics},
        {"action": "add-encryption-key", "encryption-key": key}]);
    client.post(TABLE, json!({"updates": updates})).await.ok();
    let after = client.post(TABLE, set("k", "w")).await.ok()["metadata"].clone();
    let said = json!({"schemas": [schema], "snapshots": [snapshot], "statistics": [statistics],
        "encryption-keys": [key], "refs": {"main": {"x-main": 2, "x-ref": 1, "snapshot-id": 12}}});
    assert_eq!(lost_of(&said, &after), Vec::<String>::new());
    assert!(after["last-updated-ms"].as_i64() >= Some(1_700_000_100_000));
}

#[tokio::test]
async fn a_new_table_keeps_foreign_types_and_strange_fields() {
    let client = Client::with_table().await;
    let field =
        |id: u8, name: &str, kind: &str| json!({"id": id, "name": name, "required": false, "type": kind, "x": id});
    let fields =
        [field(0, "a", "long"), field(1, "v", "variant"), field(2, "u", "unknown"), field(3, "n", "timestamp_ns")];
    let schema = json!({"type": "struct", "schema-id": 0, "fields": fields});
    let order = json!({"order-id": 1, "fields": [{"transform": "identity", "source-id": 0, "direction": "asc",
        "null-order": "nulls-last", "x": 1}]});
    let mut request = json!({"name": "new", "schema": schema, "write-order": order, "location": null,
        "properties": {"format-version": "3"}, "partition-spec": {"spec-id": 0, "fields":
        [{"name": "p", "transform": "bucket[2]", "source-id": 0, "x": 2}]}});
    let made = client.post("/v1/namespaces/n/tables", request.clone()).await.ok();
    request["name"] = json!("staged");
    request["stage-create"] = json!(true);
    let staged = client.post("/v1/namespaces/n/tables", request).await.ok();
    for metadata in [&made["metadata"], &staged["metadata"]] {
        let fields = metadata["schemas"][0]["fields"].as_array().expect("fields");
        let kinds: Vec<(&Value, &Value, &Value)> = fields.iter().map(|f| (&f["id"], &f["type"], &f["x"])).collect();
        let expected = [
            (json!(1), json!("long"), json!(0)),
            (json!(2), json!("variant"), json!(1)),
            (json!(3), json!("unknown"), json!(2)),
            (json!(4), json!("timestamp_ns"), json!(3)),
        ];
        assert_eq!(kinds, expected.iter().map(|(a, b, c)| (a, b, c)).collect::<Vec<_>>());
        assert_eq!(metadata["sort-orders"][0]["fields"][0]["x"], 1);
        assert_eq!(metadata["partition-specs"][0]["fields"][0]["x"], 2);
        assert_eq!(metadata["sort-orders"][0]["fields"][0]["source-id"], 1, "ids are assigned anew");
    }
}

/// What was taken can be read again: by us after a restart, and by readers that end at 128 levels.
#[tokio::test]
async fn what_is_nested_too_deep_to_be_read_again_is_refused() {
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let mut client = Client::new();
    client.post("/v1/namespaces", json!({"namespace": ["n"]})).await.ok();
    let (mut taken, mut refused) = (0, 0);
    for levels in 100..127 {
        let mut table = create(&format!("t{levels}"));
        table["schema"]["fields"][0]["x-deep"] = deep(levels);
        let mut view = super::views::create(&format!("v{levels}"));
        view["schema"]["x-deep"] = deep(levels);
        let mut file = metadata(3);
        file["x-deep"] = deep(levels);
        let file = client.put(&format!("{levels}.metadata.json"), &file);
        let register = json!({"name": format!("r{levels}"), "metadata-location": file});
        let made = [("tables", table), ("views", view), ("register", register)];
        for (route, body) in made {
            let answer = client.post(&format!("/v1/namespaces/n/{route}"), body).await;
            match answer.status.as_u16() {
                200 => taken += 1,
                _ => {
                    answer.fails(400, "BadRequestException");
                    refused += 1;
                }
            }
        }
    }
    assert!(taken > 30 && refused > 15, "{taken} taken, {refused} refused");
    client = client.restarted();
    for route in ["tables", "views"] {
        let listed = client.get(&format!("/v1/namespaces/n/{route}")).await.ok();
        for ident in listed["identifiers"].as_array().expect("a list") {
            let name = ident["name"].as_str().expect("a name");
            client.get(&format!("/v1/namespaces/n/{route}/{name}")).await.ok();
        }
    }
}

#[tokio::test]
async fn metadata_is_gzipped_where_the_table_asks_for_it() {
    let client = Client::with_table().await;
    let odd = client.post(TABLE, set("write.metadata.compression-codec", "snappy")).await;
    odd.fails(400, "BadRequestException");
    let packed = client.post(TABLE, set("write.metadata.compression-codec", "gzip")).await.ok();
    let location = packed["metadata-location"].as_str().expect("a location");
    assert!(location.ends_with(".gz.metadata.json"), "{location}");
    assert!(client.catalog.store().read(location).expect("is there").starts_with(&[0x1f, 0x8b]));
    let elsewhere = format!("{}/n/t/other", client.catalog.warehouse());
    let client = client.restarted();
    assert_eq!(client.get(TABLE).await.ok()["metadata"], packed["metadata"]);
    let moved = client.post(TABLE, set("write.metadata.path", &elsewhere)).await.ok();
    let location = moved["metadata-location"].as_str().expect("a location");
    assert!(location.starts_with(&format!("{elsewhere}/00002-")), "{location}");
}

#[tokio::test]
async fn a_table_gives_way_to_a_registered_one_if_it_is_told_to() {
    let (client, original) = registered(2).await;
    let location = client.put("00000-b.metadata.json", &metadata(3));
    let mut request = json!({"name": "t", "metadata-location": location});
    client.post("/v1/namespaces/n/register", request.clone()).await.fails(409, "AlreadyExistsException");
    assert_eq!(client.get(TABLE).await.ok()["metadata"], original);
    request["overwrite"] = json!(true);
    client.post("/v1/namespaces/n/register", request).await.ok();
    assert_eq!(client.get(TABLE).await.ok()["metadata"], metadata(3));
}
