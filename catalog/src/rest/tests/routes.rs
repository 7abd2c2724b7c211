//! Every route of the protocol's document is served, or absent for a reason that is written down.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Client;
use crate::rest::endpoints::{ABSENT, SERVED};

const DOCUMENT: &str = include_str!("openapi-routes.txt");

fn documented() -> BTreeSet<&'static str> {
    DOCUMENT.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn each_route_of_the_document_is_served_or_absent_for_a_reason() {
    let absent: BTreeSet<&str> = ABSENT.iter().map(|(route, _)| *route).collect();
    let served: BTreeSet<&str> = SERVED.iter().copied().collect();
    assert_eq!(served.len() + absent.len(), SERVED.len() + ABSENT.len(), "a route is listed twice");
    assert_eq!(served.intersection(&absent).collect::<Vec<_>>(), Vec::<&&str>::new());
    let listed: BTreeSet<&str> = served.union(&absent).copied().collect();
    assert_eq!(listed, documented());
    assert!(ABSENT.iter().all(|(_, reason)| !reason.is_empty()));
}

/// Whether the router has it: what it has not ends in our 404 for no endpoint, or in 405.
async fn is_routed(client: &Client, route: &str) -> bool {
    let (method, path) = route.split_once(' ').expect("method and path");
    let path = path.replace("/{prefix}", "").replace(['{', '}'], "");
    let answer = client.call(method, &path, Value::Null).await;
    let kind = answer.body["error"]["type"].as_str();
    answer.status.as_u16() != 405 && kind != Some("NoSuchEndpointException")
}

#[tokio::test]
async fn config_tells_the_truth_about_endpoints() {
    let client = Client::new();
    let config = client.get("/v1/config").await.ok();
    let told: Vec<&str> = config["endpoints"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(told, SERVED);
    for route in SERVED {
        assert!(is_routed(&client, route).await, "{route} is listed and not served");
    }
    for (route, _) in ABSENT {
        assert!(!is_routed(&client, route).await, "{route} is served and not listed");
    }
}

#[tokio::test]
async fn the_frameworks_errors_have_the_protocols_form() {
    let client = Client::with_table().await;
    client.get("/v1/nothing").await.fails(404, "NoSuchEndpointException");
    client.call("PUT", "/v1/namespaces", Value::Null).await.fails(405, "UnsupportedOperationException");
    client.get("/v1/namespaces/%FF").await.fails(400, "BadRequestException");
    client.get("/v1/namespaces/n/tables/t?snapshots=some").await.fails(400, "BadRequestException");
    client.send("POST", "/v1/namespaces", &[], b"{".to_vec()).await.fails(400, "BadRequestException");
    let huge = vec![b' '; crate::rest::BODY_LIMIT + 1];
    client.send("POST", "/v1/namespaces", &[], huge).await.fails(413, "BadRequestException");
    for path in ["/v1/namespaces/n", "/v1/namespaces/n/tables/t"] {
        let answer = client.call("HEAD", path, Value::Null).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (204, &Value::Null), "{path}");
        assert_eq!(client.call("HEAD", &format!("{path}x"), Value::Null).await.status, 404);
    }
}
