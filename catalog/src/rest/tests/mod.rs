//! The protocol, spoken to the router in memory.

mod passthrough;
mod routes;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::store::{Store, location_of};
use crate::system::System;
use crate::{Catalog, Database, Settings};

/// A catalog in a temporary folder, and its router.
pub struct Client {
    pub folder: tempfile::TempDir,
    pub catalog: Catalog,
    router: Router,
    system: System,
}

/// An answer: its status, headers and body, null if there is none.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    #[allow(dead_code, reason = "shown when a test fails")]
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answered {
    /// The body, of an answer that must be a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }

    /// Asserts an error's status and type, and that its form is the protocol's; returns its message.
    #[track_caller]
    pub fn fails(self, status: u16, kind: &str) -> String {
        let error = &self.body["error"];
        assert_eq!((self.status.as_u16(), error["type"].as_str()), (status, Some(kind)), "{self:?}");
        assert_eq!(error["code"], status, "{self:?}");
        error["message"].as_str().expect("a message").to_string()
    }
}

fn open(folder: &std::path::Path, system: System) -> Catalog {
    let store = Store::local(system, folder.join("staging")).expect("opens");
    let warehouse = location_of(&folder.join("warehouse")).expect("UTF-8");
    let settings = Settings { database: Database::File(folder.join("catalog.db")), warehouse };
    Catalog::open(settings, store).expect("opens")
}

impl Client {
    pub fn new() -> Client {
        Client::with(System::real())
    }

    pub fn with(system: System) -> Client {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let catalog = open(folder.path(), system.clone());
        let router = super::router(catalog.clone());
        Client { folder, catalog, router, system }
    }

    /// The same catalog after a restart.
    pub fn restarted(self) -> Client {
        let Client { folder, catalog, router, system } = self;
        drop((catalog, router));
        let catalog = open(folder.path(), system.clone());
        let router = super::router(catalog.clone());
        Client { folder, catalog, router, system }
    }

    /// Sends a request whose body is bytes.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answered {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.expect("a body");
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
        Answered { status: parts.status, headers: parts.headers, body }
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> Answered {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).expect("JSON") };
        self.send(method, path, &[], body).await
    }

    pub async fn get(&self, path: &str) -> Answered {
        self.call("GET", path, Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answered {
        self.call("POST", path, body).await
    }

    /// A catalog with namespace `n` and table `n.t`.
    pub async fn with_table() -> Client {
        let client = Client::new();
        client.post("/v1/namespaces", json!({"namespace": ["n"]})).await.ok();
        client.post("/v1/namespaces/n/tables", create("t")).await.ok();
        client
    }

    /// Writes a metadata file and returns its location.
    pub fn put(&self, name: &str, metadata: &Value) -> String {
        let location = location_of(&self.folder.path().join("elsewhere").join(name)).expect("UTF-8");
        self.catalog.store().put(&location, &serde_json::to_vec_pretty(metadata).expect("JSON")).expect("written");
        location
    }
}

/// A request to make a table of one column.
pub fn create(name: &str) -> Value {
    let field = json!({"id": 1, "name": "id", "required": true, "type": "long"});
    json!({"name": name, "schema": {"type": "struct", "schema-id": 0, "fields": [field]}})
}

/// A request that sets a property.
pub fn set(key: &str, value: &str) -> Value {
    json!({"requirements": [], "updates": [{"action": "set-properties", "updates": {key: value}}]})
}
