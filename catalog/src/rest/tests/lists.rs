//! Lists, names, ETags and reports.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Client, create, set};

const TABLE: &str = "/v1/namespaces/n/tables/t";

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn pages(client: &Client, path: &str, list: &str, size: usize) -> Vec<Vec<Value>> {
    let (mut token, mut found) = (String::new(), Vec::new());
    loop {
        let answer = client.get(&format!("{path}pageSize={size}&pageToken={token}")).await.ok();
        found.push(answer[list].as_array().expect("a list").clone());
        match answer["next-page-token"].as_str() {
            Some(next) => token = next.to_string(),
            None => return found,
        }
    }
}

#[tokio::test]
async fn a_list_comes_page_by_page_and_is_not_shaken_by_changes() {
    let client = Client::with_table().await;
    for number in 0..7 {
        client.post("/v1/namespaces/n/tables", create(&format!("a{number}"))).await.ok();
        client.post("/v1/namespaces", json!({"namespace": ["n", format!("m{number}"), "deep"]})).await.ok();
    }
    let found = pages(&client, "/v1/namespaces/n/tables?", "identifiers", 3).await;
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 2]);
    let found = pages(&client, "/v1/namespaces?parent=n&", "namespaces", 7).await;
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [7], "a full last page names no next one");
    assert_eq!(found[0][6], json!(["n", "m6"]), "only what is right below");
    let all = client.get("/v1/namespaces/n/tables?pageSize=2").await.ok();
    assert_eq!(all["identifiers"].as_array().map(Vec::len), Some(8), "without a token there are no pages");
    let first = client.get("/v1/namespaces/n/tables?pageSize=2&pageToken=").await.ok();
    let token = first["next-page-token"].as_str().expect("a token");
    client.call("DELETE", "/v1/namespaces/n/tables/a1", Value::Null).await.ok();
    client.post("/v1/namespaces/n/tables", create("a00")).await.ok();
    let second = client.get(&format!("/v1/namespaces/n/tables?pageSize=2&pageToken={token}")).await.ok();
    assert_eq!(second["identifiers"][0]["name"], "a2");
    for bad in ["pageToken=zz", "pageToken=1g", "pageToken=1f", "pageToken=&pageSize=0", "pageSize=x"] {
        client.get(&format!("/v1/namespaces/n/tables?{bad}")).await.fails(400, "BadRequestException");
    }
    client.get("/v1/namespaces?parent=none").await.fails(404, "NoSuchNamespaceException");
}

#[tokio::test]
async fn any_text_is_a_name() {
    let client = Client::new();
    let long = "ü".repeat(400);
    let names = ["a.b", "a/b", "a b", "日本", "..", ".", "%2F", "a\\b", "Ä\"q", "con", long.as_str()];
    for name in names {
        client.post("/v1/namespaces", json!({"namespace": [name, name]})).await.ok();
        let space = format!("{}%1F{}", escaped(name), escaped(name));
        client.post(&format!("/v1/namespaces/{space}/tables"), create(name)).await.ok();
        let path = format!("/v1/namespaces/{space}/tables/{}", escaped(name));
        let loaded = client.post(&path, set("k", name)).await.ok();
        assert_eq!(loaded["metadata"]["properties"]["k"], name);
        let listed = client.get(&format!("/v1/namespaces/{space}/tables")).await.ok();
        assert_eq!(listed["identifiers"], json!([{"namespace": [name, name], "name": name}]));
    }
    let folders: BTreeSet<String> = client
        .catalog
        .store()
        .list(client.catalog.warehouse())
        .expect("lists")
        .iter()
        .filter_map(|entry| entry.location.split_once("/metadata/").map(|(folder, _)| folder.to_string()))
        .collect();
    assert_eq!(folders.len(), names.len(), "each table has a folder of its own");
    for bad in ["", "a\u{1f}b", "a\u{0}", "x".repeat(1025).as_str()] {
        client.post("/v1/namespaces", json!({"namespace": [bad]})).await.fails(400, "BadRequestException");
        client.post("/v1/namespaces/a.b%1Fa.b/tables", create(bad)).await.fails(400, "BadRequestException");
    }
    let deep = vec!["a"; 100_000];
    client.post("/v1/namespaces", json!({"namespace": deep})).await.fails(400, "BadRequestException");
}

#[tokio::test]
async fn a_new_table_whose_folder_is_not_empty_gets_a_suffix() {
    let client = Client::with_table().await;
    let first = client.get(TABLE).await.ok();
    client.call("DELETE", TABLE, Value::Null).await.ok();
    let second = client.post("/v1/namespaces/n/tables", create("t")).await.ok();
    let location = |table: &Value| table["metadata"]["location"].as_str().expect("a location").to_string();
    assert!(location(&second).starts_with(&format!("{}-", location(&first))), "{}", location(&second));
}

#[tokio::test]
async fn an_etag_saves_the_second_load() {
    let client = Client::with_table().await;
    let etag = |answer: &super::Answered| answer.headers["etag"].to_str().expect("text").to_string();
    let all = client.get(TABLE).await;
    let refs = client.get(&format!("{TABLE}?snapshots=refs")).await;
    assert_ne!(etag(&all), etag(&refs));
    for held in [etag(&all), format!("\"x\", {}", etag(&all)), "*".into(), format!("W/{}", etag(&all))] {
        let answer = client.send("GET", TABLE, &[("If-None-Match", &held)], Vec::new()).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (304, &Value::Null), "{held}");
        assert_eq!(etag(&answer), etag(&all));
    }
    let committed = client.post(TABLE, set("a", "b")).await;
    let held = etag(&all);
    let answer = client.send("GET", TABLE, &[("If-None-Match", &held)], Vec::new()).await;
    assert_eq!((answer.status.as_u16(), etag(&answer)), (200, etag(&committed)));
}

#[tokio::test]
async fn reports_are_kept_and_bounded() {
    let client = Client::with_table().await;
    let path = format!("{TABLE}/metrics");
    for number in 0..30 {
        let report = json!({"report-type": "scan-report", "table-name": "n.t", "snapshot-id": number, "metrics":
            {"result-data-files": {"unit": "count", "value": 3}, "total-planning-duration":
            {"time-unit": "nanoseconds", "count": 1, "total-duration": 5}}});
        client.post(&path, report).await.ok();
    }
    let kept = client.get(&path).await.ok();
    let kept = kept["reports"].as_array().expect("a list");
    assert_eq!((kept.len(), &kept[19]["snapshot-id"]), (20, &json!(29)));
    client.post(&path, json!({"no": "type"})).await.fails(400, "BadRequestException");
    let none = "/v1/namespaces/n/tables/none/metrics";
    client.post(none, json!({"report-type": "scan-report"})).await.fails(404, "NoSuchTableException");
}

#[tokio::test]
async fn an_unregistered_table_can_be_registered_again() {
    let client = Client::with_table().await;
    let last = client.post(TABLE, set("a", "b")).await.ok();
    let told = client.post(&format!("{TABLE}/unregister"), Value::Null).await.ok();
    assert_eq!((&told["metadata"], &told["metadata-location"]), (&last["metadata"], &last["metadata-location"]));
    client.post(TABLE, set("a", "c")).await.fails(404, "NoSuchTableException");
    client.post(&format!("{TABLE}/unregister"), Value::Null).await.fails(404, "NoSuchTableException");
    let request = json!({"name": "t", "metadata-location": told["metadata-location"]});
    client.post("/v1/namespaces/n/register", request).await.ok();
    assert_eq!(client.get(TABLE).await.ok()["metadata"], last["metadata"]);
}
