//! Views: no field is lost, and times are of the catalog's clock.

use serde_json::{Value, json};

use super::Client;

const VIEW: &str = "/v1/namespaces/n/views/v";

fn version(id: u8, schema: i8, sql: &str) -> Value {
    json!({"version-id": id, "schema-id": schema, "timestamp-ms": 1_700_000_000_000_i64 + i64::from(id),
        "summary": {"engine-name": "test"}, "default-namespace": ["n"], "x-version": id,
        "representations": [{"type": "sql", "sql": sql, "dialect": "spark", "x-sql": sql}]})
}

pub fn create(name: &str) -> Value {
    let fields = [json!({"id": 1, "name": "v", "required": false, "type": "variant", "x-field": 1})];
    let schema = json!({"type": "struct", "schema-id": 0, "fields": fields, "x-schema": 1});
    json!({"name": name, "schema": schema, "view-version": version(1, 0, "select 1"), "properties": {}})
}

#[tokio::test]
async fn a_view_loses_no_field_through_its_versions() {
    let client = Client::with_table().await;
    let made = client.post("/v1/namespaces/n/views", create("v")).await.ok()["metadata"].clone();
    assert_eq!(made["schemas"][0]["x-schema"], 1);
    assert_eq!(made["schemas"][0]["fields"][0]["type"], "variant");
    assert_eq!(made["versions"][0], version(1, 0, "select 1"));
    let updates = json!([{"action": "add-view-version", "view-version": version(2, 0, "select 2")},
        {"action": "set-current-view-version", "view-version-id": -1}]);
    let uuid = json!([{"type": "assert-view-uuid", "uuid": made["view-uuid"]}]);
    client.post(VIEW, json!({"requirements": uuid, "updates": updates})).await.ok();
    let client = client.restarted();
    let back = json!([{"action": "set-current-view-version", "view-version-id": 1}]);
    let after = client.post(VIEW, json!({"updates": back})).await.ok()["metadata"].clone();
    assert_eq!(after["versions"], json!([version(1, 0, "select 1"), version(2, 0, "select 2")]));
    assert_eq!(after["schemas"], made["schemas"]);
    let log = after["version-log"].as_array().expect("a log");
    assert_eq!((log.len(), &log[2]["version-id"]), (3, &json!(1)));
    let wrong = json!([{"type": "assert-view-uuid", "uuid": made["view-uuid"]},
        {"type": "assert-view-uuid", "uuid": "00000000-0000-0000-0000-000000000000"}]);
    let updates = json!([{"action": "set-properties", "updates": {"k": "v"}}]);
    client.post(VIEW, json!({"requirements": wrong, "updates": updates})).await.fails(409, "CommitFailedException");
}

#[tokio::test]
async fn a_registered_view_keeps_what_it_says() {
    let client = Client::with_table().await;
    let schema = create("v")["schema"].clone();
    let metadata = json!({"format-version": 1, "view-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1", "x-top": [1],
        "location": format!("{}/n/v", client.catalog.warehouse()), "current-version-id": 1, "properties": {},
        "versions": [version(1, 0, "select 1")], "schemas": [schema],
        "version-log": [{"version-id": 1, "timestamp-ms": 1}]});
    let location = client.put("00000-v.metadata.json", &metadata);
    let request = json!({"name": "v", "metadata-location": location});
    assert_eq!(client.post("/v1/namespaces/n/register-view", request).await.ok()["metadata"], metadata);
    let updates = json!([{"action": "set-properties", "updates": {"k": "v"}}]);
    let mut after = client.post(VIEW, json!({"updates": updates})).await.ok()["metadata"].clone();
    after["properties"] = json!({});
    assert_eq!(after, metadata);
}
