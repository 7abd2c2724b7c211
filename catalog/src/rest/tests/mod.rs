//! The protocol, spoken to the router in memory.

#[cfg(feature = "simulation")]
mod fuzz;
mod idempotency;
mod lists;
mod passthrough;
mod purge;
mod routes;
#[cfg(feature = "simulation")]
mod simulated;
pub mod snapshots;
mod views;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::access::Caller;
use crate::postgres_server::PostgresServer;
use crate::store::{Store, location_of};
use crate::system::System;
use crate::{Catalog, Database, Settings};

/// A catalog in a temporary folder, and its router.
pub struct Client {
    pub folder: tempfile::TempDir,
    pub catalog: Catalog,
    router: Router,
    system: System,
    database: Database,
    /// Whom the gate would have let in.
    caller: Option<Caller>,
    /// The last to go.
    _last: Last,
}

/// PostgreSQL's client blocks, and may neither connect nor end on a thread that drives tasks.
fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().expect("does not panic"))
}

struct Last(Option<Catalog>);

impl Drop for Last {
    fn drop(&mut self) {
        let catalog = self.0.take();
        aside(move || drop(catalog));
    }
}

/// An answer: its status, headers and body, null if there is none.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
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

fn open(folder: &std::path::Path, staging: &str, system: System, database: &Database) -> Catalog {
    let store = Store::local(system, folder.join(staging)).expect("opens");
    let warehouse = location_of(&folder.join("warehouse")).expect("UTF-8");
    aside(|| Catalog::open(Settings { database: database.clone(), warehouse }, store)).expect("opens")
}

impl Client {
    pub fn new() -> Client {
        Client::with(System::real())
    }

    pub fn with(system: System) -> Client {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let database = Database::File(folder.path().join("catalog.db"));
        Client::opened(folder, system, database)
    }

    /// A catalog whose state is in that PostgreSQL.
    pub fn on(server: &PostgresServer) -> Client {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Client::opened(folder, System::real(), server.url().parse().expect("a URL"))
    }

    fn opened(folder: tempfile::TempDir, system: System, database: Database) -> Client {
        let catalog = open(folder.path(), "staging", system.clone(), &database);
        Client::of(folder, catalog, system, database)
    }

    fn of(folder: tempfile::TempDir, catalog: Catalog, system: System, database: Database) -> Client {
        let router = super::router(catalog.clone());
        let last = Last(Some(catalog.clone()));
        Client { folder, catalog, router, system, database, caller: None, _last: last }
    }

    /// A catalog without files, on a disk that is simulated.
    #[cfg(feature = "simulation")]
    pub fn in_memory(system: System) -> Client {
        Client::over(system, |state| state)
    }

    /// The same, with the state's calls going where `through` sends them.
    #[cfg(feature = "simulation")]
    pub fn over(system: System, through: impl Fn(crate::State) -> crate::State) -> Client {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::local(system.clone(), "/staging".into()).expect("opens");
        let state = through(crate::State::open(&Database::Memory).expect("opens"));
        let catalog = Catalog::over(state, "file:///warehouse".into(), store);
        Client::of(folder, catalog, system, Database::Memory)
    }

    /// The same, as one who has got a name.
    pub fn called_by(&self, name: &str) -> Client {
        let caller = Caller { name: name.into(), ..Caller::anyone() };
        Client { caller: Some(caller), ..self.beside() }
    }

    /// A second process over the same database and files.
    pub fn beside(&self) -> Client {
        let (system, database) = (self.system.clone(), self.database.clone());
        let catalog = open(self.folder.path(), "staging-2", system.clone(), &database);
        Client::of(tempfile::tempdir().expect("a folder"), catalog, system, database)
    }

    /// The same catalog after a restart.
    pub fn restarted(self) -> Client {
        let Client { folder, catalog, router, system, database, _last: last, .. } = self;
        drop((catalog, router, last));
        Client::opened(folder, system, database)
    }

    /// Sends a request whose body is bytes.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answered {
        self.tried(method, path, headers, body).await.expect("JSON")
    }

    /// The same, where the answer may not be JSON that can be read.
    pub async fn tried(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> serde_json::Result<Answered> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body)).expect("a request");
        if let Some(caller) = &self.caller {
            request.extensions_mut().insert(caller.clone());
        }
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.expect("a body");
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
        Ok(Answered { status: parts.status, headers: parts.headers, body })
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
        Client::new().and_table().await
    }

    /// Makes them.
    pub async fn and_table(self) -> Client {
        self.post("/v1/namespaces", json!({"namespace": ["n"]})).await.ok();
        self.post("/v1/namespaces/n/tables", create("t")).await.ok();
        self
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
