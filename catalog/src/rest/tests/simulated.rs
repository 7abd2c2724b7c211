//! Keys and dropped tables over time, and replies that are lost: on a simulated disk, under a simulated clock.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Client, create, set};
use crate::store::{Fault, SimulatedDisk};
use crate::system::{SimulatedClock, System};

const KEY: (&str, &str) = ("Idempotency-Key", "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
const TABLE: &str = "/v1/namespaces/n/tables/t";

async fn client() -> (Arc<SimulatedClock>, SimulatedDisk, Client) {
    let (clock, disk) = (Arc::new(SimulatedClock::at(1_700_000_000_000)), SimulatedDisk::new());
    let system = System { disk: Arc::new(disk.clone()), clock: clock.clone(), ..System::real() };
    let client = Client::over(system, |state| state.through(disk.wire()));
    client.post("/v1/namespaces", json!({"namespace": ["n"]})).await.ok();
    client.post("/v1/namespaces/n/tables", create("t")).await.ok();
    (clock, disk, client)
}

fn text(body: &Value) -> Vec<u8> {
    serde_json::to_vec(body).expect("JSON")
}

async fn log_of(client: &Client) -> usize {
    client.get(TABLE).await.ok()["metadata"]["metadata-log"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn a_key_lives_for_half_an_hour() {
    let (clock, _disk, client) = client().await;
    let body = text(&set("a", "1"));
    client.send("POST", TABLE, &[KEY], body.clone()).await.ok();
    clock.advance(Duration::from_secs(30 * 60));
    client.send("POST", TABLE, &[KEY], body.clone()).await.ok();
    assert_eq!(log_of(&client).await, 1);
    clock.advance(Duration::from_secs(10 * 60));
    client.send("POST", TABLE, &[KEY], body).await.ok();
    assert_eq!(log_of(&client).await, 2, "the key has expired: it is a new request");
}

#[tokio::test]
async fn a_reply_that_is_lost_is_told_again() {
    for landed in [true, false] {
        let (_clock, disk, client) = client().await;
        let body = text(&set("a", "1"));
        disk.arm(Fault::Silence { landed, calls: 3 }, 1);
        let silent = client.send("POST", TABLE, &[KEY], body.clone()).await;
        assert!(silent.status.is_server_error(), "{silent:?}");
        disk.answer();
        let told = client.send("POST", TABLE, &[KEY], body).await.ok();
        assert_eq!(told["metadata"]["properties"]["a"], "1");
        assert_eq!(log_of(&client).await, 1, "done once, whether it had landed ({landed}) or not");
    }
}

#[tokio::test]
async fn a_dropped_table_comes_back_for_a_day() {
    let (clock, _disk, client) = client().await;
    let before = client.post(TABLE, set("a", "1")).await.ok();
    let undrop = format!("{TABLE}/undrop");
    client.post(&undrop, Value::Null).await.fails(404, "NoSuchTableException");
    client.call("DELETE", TABLE, Value::Null).await.ok();
    client.get(TABLE).await.fails(404, "NoSuchTableException");
    client.post("/v1/namespaces/n/tables", create("t")).await.ok();
    client.post(&undrop, Value::Null).await.fails(409, "AlreadyExistsException");
    let away = json!({"source": {"namespace": ["n"], "name": "t"}, "destination": {"namespace": ["n"], "name": "u"}});
    client.post("/v1/tables/rename", away).await.ok();
    client.post(&undrop, Value::Null).await.ok();
    assert_eq!(client.get(TABLE).await.ok()["metadata"], before["metadata"]);
    client.call("DELETE", TABLE, Value::Null).await.ok();
    clock.advance(Duration::from_secs(24 * 60 * 60 + 1));
    client.post(&undrop, Value::Null).await.fails(404, "NoSuchTableException");
}

#[tokio::test]
async fn a_purged_table_is_gone_with_its_files_even_if_a_crash_comes_between() {
    let (_clock, disk, client) = client().await;
    client.post(TABLE, set("a", "1")).await.ok();
    let ident = iceberg::TableIdent::from_strs(["n", "t"]).expect("valid");
    let folder = "file:///warehouse/n/t";
    // What the route does first; the process dies before the second.
    client.catalog.purge_table(&ident).expect("is forgotten");
    assert!(!client.catalog.store().list(folder).expect("lists").is_empty());
    client.post(&format!("{TABLE}/undrop"), Value::Null).await.fails(404, "NoSuchTableException");
    client.catalog.finish_purges().expect("goes on");
    assert_eq!(client.catalog.store().list(folder).expect("lists"), Vec::new());
    client.catalog.finish_purges().expect("has nothing left to do");
    assert!(!disk.fired());
}
