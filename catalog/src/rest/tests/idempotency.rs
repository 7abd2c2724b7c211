//! A request that comes again with its key is answered again and done once, through a restart and a race, on SQLite and on
//! PostgreSQL; no secret is kept.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Answered, Client, create, set, views};
use crate::postgres_server::PostgresServer;

const KEY: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
const OTHER: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c073990";
const TABLE: &str = "/v1/namespaces/n/tables/t";

async fn ask(client: &Client, key: &str, method: &str, path: &str, body: &Value) -> Answered {
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).expect("JSON") };
    client.send(method, path, &[("Idempotency-Key", key)], body).await
}

async fn log_of(client: &Client) -> usize {
    client.get(TABLE).await.ok()["metadata"]["metadata-log"].as_array().map_or(0, Vec::len)
}

/// Every mutation: what it is, whether a second run without a key would be refused.
fn mutations() -> Vec<(&'static str, &'static str, Value)> {
    let name = |name: &str| json!({"namespace": ["n"], "name": name});
    let change = json!([{"identifier": name("t"), "updates": set("a", "b")["updates"], "requirements": []}]);
    let view = json!({"updates": [{"action": "set-properties", "updates": {"k": "v"}}]});
    let mut staged = create("staged");
    staged["stage-create"] = json!(true);
    vec![
        ("POST", "/v1/namespaces", json!({"namespace": ["m", "k"], "properties": {"a": "b"}})),
        ("POST", "/v1/namespaces/m/properties", json!({"updates": {"x": "y"}, "removals": ["none"]})),
        ("DELETE", "/v1/namespaces/m%1Fk", Value::Null),
        ("POST", "/v1/namespaces/n/tables", create("new")),
        ("POST", "/v1/namespaces/n/tables", staged),
        ("POST", TABLE, set("c", "d")),
        ("POST", "/v1/transactions/commit", json!({"table-changes": change})),
        ("POST", "/v1/tables/rename", json!({"source": name("new"), "destination": name("newer")})),
        ("DELETE", "/v1/namespaces/n/tables/newer?purgeRequested=True", Value::Null),
        ("POST", "/v1/namespaces/n/views", views::create("v")),
        ("POST", "/v1/namespaces/n/views/v", view),
        ("POST", "/v1/views/rename", json!({"source": name("v"), "destination": name("w")})),
        ("DELETE", "/v1/namespaces/n/views/w", Value::Null),
        ("POST", "/v1/namespaces/n/tables/t/unregister", Value::Null),
    ]
}

#[tokio::test]
async fn every_mutation_is_answered_again_after_a_restart() {
    each_is_answered_again(Client::with_table().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_too_and_of_two_daemons_one_does_it() {
    let server = PostgresServer::start();
    each_is_answered_again(Client::on(&server).and_table().await).await;
    let client = Client::on(&server);
    client.post("/v1/namespaces/n/tables", create("t")).await.ok();
    one_is_done_and_all_are_answered(Arc::new(client), KEY).await;
}

async fn each_is_answered_again(mut client: Client) {
    for (at, (method, path, body)) in mutations().into_iter().enumerate() {
        let key = format!("017f22e2-79b0-7cc3-98c4-dc0c0c07{at:04}");
        let first = ask(&client, &key, method, path, &body).await;
        assert!(first.status.is_success(), "{method} {path}: {first:?}");
        let etag = first.headers.get("etag").cloned();
        for again in 0..2 {
            let second = ask(&client, &key, method, path, &body).await;
            assert_eq!((second.status, &second.body), (first.status, &first.body), "{method} {path}, time {again}");
            assert_eq!(second.headers.get("etag"), etag.as_ref(), "{method} {path}");
            client = client.restarted();
        }
        let mut other = body.clone();
        if let Some(fields) = other.as_object_mut() {
            fields.insert("strange".into(), json!(1));
            ask(&client, &key, method, path, &other).await.fails(422, "UnprocessableEntityException");
        }
        ask(&client, &key, "POST", "/v1/namespaces", &json!({"namespace": ["q"]}))
            .await
            .fails(422, "UnprocessableEntityException");
    }
    assert_eq!(client.call("HEAD", "/v1/namespaces/q", Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_repeated_commit_is_done_once() {
    let client = Client::with_table().await;
    let first = ask(&client, KEY, "POST", TABLE, &set("a", "1")).await.ok();
    client.post(TABLE, set("a", "2")).await.ok();
    let again = ask(&client, &KEY.to_uppercase(), "POST", TABLE, &set("a", "1")).await.ok();
    assert_eq!(again, first, "the answer is of then");
    assert_eq!(client.get(TABLE).await.ok()["metadata"]["properties"]["a"], "2");
    assert_eq!(log_of(&client).await, 2);
    let config = client.get("/v1/config").await.ok();
    assert_eq!(config["idempotency-key-lifetime"], "PT30M");
}

#[tokio::test]
async fn refusals_that_are_final_are_replayed() {
    let client = Client::with_table().await;
    let taken = ask(&client, KEY, "POST", "/v1/namespaces/n/tables", &create("t")).await;
    client.call("DELETE", TABLE, Value::Null).await;
    let again = ask(&client, KEY, "POST", "/v1/namespaces/n/tables", &create("t")).await;
    assert_eq!((again.status, &again.body), (taken.status, &taken.body), "refused then, refused again");
    again.fails(409, "AlreadyExistsException");
    ask(&client, OTHER, "POST", "/v1/namespaces/n/tables", &create("t")).await.ok();
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let client = Client::with_table().await;
    for key in ["", "1", "017f22e279b07cc398c4dc0c0c07398f", "017f22e2-79b0-7cc3-98c4-dc0c0c07398g"] {
        ask(&client, key, "POST", TABLE, &set("a", "1")).await.fails(400, "BadRequestException");
    }
    ask(&client, "nonsense", "GET", TABLE, &Value::Null).await.ok();
    assert_eq!(log_of(&client).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_at_once_one_is_done_and_both_are_answered() {
    for _ in 0..20 {
        one_is_done_and_all_are_answered(Arc::new(Client::with_table().await), KEY).await;
    }
}

async fn one_is_done_and_all_are_answered(client: Arc<Client>, key: &'static str) {
    // Two daemons over one database know nothing of each other's turns.
    let other = Arc::new(client.beside());
    let both = [client.clone(), client.clone(), other.clone(), other];
    let asked: Vec<_> = both
        .into_iter()
        .map(|client| tokio::spawn(async move { ask(&client, key, "POST", TABLE, &set("a", "1")).await }))
        .collect();
    let mut answers = Vec::new();
    for one in asked {
        answers.push(one.await.expect("ends").ok());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(log_of(&client).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_that_share_a_transaction_are_each_answered_again() {
    let client = Arc::new(Client::with_table().await);
    for n in 0..16 {
        client.post("/v1/namespaces/n/tables", create(&format!("t{n}"))).await.ok();
    }
    let once = |client: Arc<Client>| async move {
        let commits: Vec<_> = (0..16)
            .map(|n| {
                let (client, key) = (client.clone(), format!("017f22e2-79b0-7cc3-98c4-dc0c0c07{n:04}"));
                let path = format!("{TABLE}{n}");
                tokio::spawn(async move { ask(&client, &key, "POST", &path, &set("a", "1")).await.ok() })
            })
            .collect();
        let mut answers = Vec::new();
        for commit in commits {
            answers.push(commit.await.expect("ends"));
        }
        answers
    };
    let first = once(client.clone()).await;
    let client = Arc::new(Arc::into_inner(client).expect("nobody else holds it").restarted());
    assert_eq!(once(client.clone()).await, first);
    for n in 0..16 {
        let table = client.get(&format!("{TABLE}{n}")).await.ok();
        assert_eq!(table["metadata"]["metadata-log"].as_array().map(Vec::len), Some(1), "t{n}");
    }
}

#[tokio::test]
async fn anothers_key_is_no_way_to_his_answer() {
    let client = Client::with_table().await;
    let (one, other) = (client.called_by("one"), client.called_by("other"));
    let first = ask(&one, KEY, "POST", TABLE, &set("a", "1")).await.ok();
    ask(&other, KEY, "POST", TABLE, &set("a", "1")).await.fails(422, "UnprocessableEntityException");
    assert_eq!(ask(&one, KEY, "POST", TABLE, &set("a", "1")).await.ok(), first);
    assert_eq!(log_of(&client).await, 1);
}

#[tokio::test]
async fn a_secret_is_not_kept() {
    let client = Client::new();
    let request = json!({"label": "l", "role": "writer"});
    let first = ask(&client, KEY, "POST", "/access/tokens", &request).await.ok();
    let second = ask(&client, KEY, "POST", "/access/tokens", &request).await.ok();
    assert_ne!(first, second, "each is a new one");
    let secret = first["token"].as_str().expect("a token").as_bytes();
    for end in ["", "-wal"] {
        let bytes = std::fs::read(client.folder.path().join(format!("catalog.db{end}"))).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "catalog.db{end}");
    }
}
