//! The gate before the catalog's routes, in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::get;
use http::{Request, StatusCode};
use iceberg::NamespaceIdent;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Gate, NewToken, RULES, Role, Secret, Tokens, guarded};
use crate::state::State;
use crate::store::Store;
use crate::system::System;
use crate::{Catalog, Database};

/// A clock that a test moves.
#[derive(Debug, Default)]
struct Hands(std::sync::atomic::AtomicI64);

impl Hands {
    fn forward(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_millis()).expect("short"), std::sync::atomic::Ordering::SeqCst);
    }
}

impl crate::system::Clock for Hands {
    fn now_ms(&self) -> i64 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms().unsigned_abs())
    }

    fn pause(&self, time: Duration) {
        self.forward(time);
    }
}

struct Bench {
    _folder: tempfile::TempDir,
    tokens: Tokens,
    router: Router,
    clock: Arc<Hands>,
    state: State,
}

impl Bench {
    fn new(always: bool) -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(Hands::default());
        clock.forward(Duration::from_secs(1_700_000_000));
        let system = System { clock: clock.clone(), ..System::real() };
        let store = Store::local(system, folder.path().join("staging")).expect("opens");
        let state = State::open(&Database::Memory).expect("opens");
        let warehouse = format!("file://{}/warehouse", folder.path().display());
        let catalog = Catalog::over(state.clone(), warehouse, store);
        for name in ["a", "b"] {
            catalog.create_namespace(&space(name), Default::default()).expect("a namespace");
        }
        let tokens = catalog.tokens().clone();
        let routes = crate::rest::router(catalog).route("/forgotten", get(|| async { "secret" }));
        let router = guarded(routes, Gate { tokens: tokens.clone(), always, oidc: None }, RULES);
        Bench { _folder: folder, tokens, router, clock, state }
    }

    fn token(&self, role: Role, namespaces: &[&str], lasts: Option<Duration>) -> (String, Secret) {
        let namespaces = namespaces.iter().map(|name| space(name)).collect();
        let (info, text) =
            self.tokens.create(NewToken { label: String::new(), role, namespaces, lasts }).expect("a token");
        (info.id, text)
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_string())).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn status(&self, method: &str, path: &str, bearer: Option<&str>) -> u16 {
        let header = bearer.map(|bearer| format!("Bearer {bearer}"));
        let headers: Vec<(&str, &str)> = header.iter().map(|text| ("authorization", text.as_str())).collect();
        self.send(method, path, &headers, "").await.0.as_u16()
    }

    async fn login(&self, form: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
        self.send("POST", "/v1/oauth/tokens", headers, form).await
    }
}

fn space(name: &str) -> NamespaceIdent {
    NamespaceIdent::from_strs(name.split('.')).expect("a namespace")
}

#[tokio::test]
async fn a_route_without_a_rule_is_refused_to_everybody() {
    let bench = Bench::new(false);
    assert_eq!(bench.status("GET", "/forgotten", None).await, 403);
    let (_, admin) = bench.token(Role::Admin, &[], None);
    assert_eq!(bench.status("GET", "/forgotten", Some(admin.reveal())).await, 403);
    assert_eq!(bench.status("PUT", "/v1/config", Some(admin.reveal())).await, 405);
    assert_eq!(bench.status("GET", "/nowhere", None).await, 404);
}

#[test]
fn each_endpoint_that_is_served_has_a_rule_of_its_own() {
    // Parameters' names are the router's own.
    let bare = |path: &str| {
        let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
        parts.collect::<Vec<_>>().join("/")
    };
    for endpoint in crate::rest::endpoints::SERVED {
        let (method, path) = endpoint.split_once(' ').expect("method and path");
        let path = bare(&path.replace("/{prefix}", ""));
        let method = if method == "HEAD" { "GET" } else { method };
        let has = RULES.iter().any(|(of, route, _)| *of == method && bare(route) == path);
        assert!(has, "{endpoint}: say in access/rules.rs who may, or nobody may");
    }
}

#[tokio::test]
async fn checks_begin_with_the_first_token_and_never_end() {
    let bench = Bench::new(false);
    assert_eq!(bench.status("GET", "/v1/config", None).await, 200);
    let (id, text) = bench.token(Role::Reader, &[], None);
    assert_eq!(bench.status("GET", "/v1/config", None).await, 401);
    assert_eq!(bench.status("GET", "/v1/config", Some(text.reveal())).await, 200);
    bench.tokens.revoke(&id).expect("revokes");
    assert_eq!(bench.status("GET", "/v1/config", Some(text.reveal())).await, 401);
    assert_eq!(bench.status("GET", "/v1/config", None).await, 401);
    assert_eq!(Bench::new(true).status("GET", "/v1/config", None).await, 401);
}

#[tokio::test]
async fn a_token_made_or_revoked_elsewhere_counts_after_two_seconds() {
    let bench = Bench::new(false);
    assert_eq!(bench.status("GET", "/v1/config", None).await, 200);
    // As lakectl --lake does: another process over the same database.
    let elsewhere = Tokens::new(bench.state.clone(), System { clock: bench.clock.clone(), ..System::real() });
    let new = NewToken { label: String::new(), role: Role::Reader, namespaces: vec![], lasts: None };
    let (info, text) = elsewhere.create(new).expect("a token");
    bench.clock.forward(Duration::from_secs(2));
    assert_eq!(bench.status("GET", "/v1/config", None).await, 401);
    assert_eq!(bench.status("GET", "/v1/config", Some(text.reveal())).await, 200);
    elsewhere.revoke(&info.id).expect("revokes");
    bench.clock.forward(Duration::from_secs(2));
    assert_eq!(bench.status("GET", "/v1/config", Some(text.reveal())).await, 401);
}

#[tokio::test]
async fn a_scope_is_its_namespaces_and_all_below() {
    let bench = Bench::new(true);
    let (_, text) = bench.token(Role::Writer, &["a"], None);
    let bearer = format!("Bearer {}", text.reveal());
    let headers = [("authorization", bearer.as_str())];
    let create = |levels: Value| json!({ "namespace": levels }).to_string();
    assert_eq!(bench.send("POST", "/v1/namespaces", &headers, &create(json!(["a", "x"]))).await.0, 200);
    assert_eq!(bench.send("POST", "/v1/namespaces", &headers, &create(json!(["ax"]))).await.0, 403);
    let rename =
        json!({ "source": { "namespace": ["a"], "name": "t" }, "destination": { "namespace": ["b"], "name": "t" } });
    for path in ["/v1/tables/rename", "/v1/views/rename"] {
        assert_eq!(bench.send("POST", path, &headers, &rename.to_string()).await.0, 403, "{path}");
    }
    let change =
        |name: &str| json!({ "identifier": { "namespace": [name], "name": "t" }, "requirements": [], "updates": [] });
    let both = json!({ "table-changes": [change("a"), change("b")] }).to_string();
    assert_eq!(bench.send("POST", "/v1/transactions/commit", &headers, &both).await.0, 403);
    for (path, status) in [("a", 200), ("a%1Fx", 200), ("b", 403), ("b%1Fa", 403), ("", 404), ("%1Fa", 403)] {
        let found = bench.status("GET", &format!("/v1/namespaces/{path}"), Some(text.reveal())).await;
        assert_eq!(found, status, "{path}");
    }
    let (_, listed) = bench.send("GET", "/v1/namespaces", &headers, "").await;
    assert_eq!(listed["namespaces"], json!([["a"]]), "others are not shown");
    let (_, deep) = bench.token(Role::Reader, &["a.x"], None);
    let deep = format!("Bearer {}", deep.reveal());
    let (_, listed) = bench.send("GET", "/v1/namespaces", &[("authorization", &deep)], "").await;
    assert_eq!(listed["namespaces"], json!([["a"]]), "the way to one's own is shown");
}

#[tokio::test]
async fn a_login_gives_a_session_that_ends_with_its_hour_its_token_and_its_revocation() {
    let bench = Bench::new(true);
    let (id, text) = bench.token(Role::Reader, &[], Some(Duration::from_secs(7200)));
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={}&scope=catalog", text.reveal());
    let (status, answer) = bench.login(&form, &[]).await;
    assert_eq!((status.as_u16(), &answer["expires_in"], &answer["token_type"]), (200, &json!(3600), &json!("bearer")));
    let session = answer["access_token"].as_str().expect("a session").to_string();
    assert_eq!(bench.status("GET", "/v1/config", Some(&session)).await, 200);

    let renew = format!("grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={session}");
    bench.clock.forward(Duration::from_secs(3599));
    let (status, renewed) = bench.login(&renew, &[]).await;
    assert_eq!((status.as_u16(), &renewed["expires_in"]), (200, &json!(3600)));
    bench.clock.forward(Duration::from_secs(1));
    assert_eq!(bench.status("GET", "/v1/config", Some(&session)).await, 401, "its hour is over");
    assert_eq!(bench.login(&renew, &[]).await.0, 401);
    let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{id}:{}", text.reveal()));
    let basic = format!("Basic {basic}");
    let (status, last) = bench.login(&renew, &[("authorization", &basic)]).await;
    assert_eq!((status.as_u16(), &last["expires_in"]), (200, &json!(3600)));
    bench.clock.forward(Duration::from_secs(1));
    assert_eq!(bench.login(&form, &[]).await.1["expires_in"], json!(3599), "never longer than the token");
    bench.clock.forward(Duration::from_secs(3599));
    let last = last["access_token"].as_str().expect("a session");
    assert_eq!(bench.status("GET", "/v1/config", Some(last)).await, 401);

    let (id, text) = bench.token(Role::Reader, &[], None);
    let form = format!("grant_type=client_credentials&client_secret={}", text.reveal());
    let (_, answer) = bench.login(&form, &[]).await;
    bench.tokens.revoke(&id).expect("revokes");
    assert_eq!(bench.status("GET", "/v1/config", answer["access_token"].as_str()).await, 401, "revoked");
}

#[tokio::test]
async fn a_wrong_login_is_refused_in_oauths_words() {
    let bench = Bench::new(true);
    let (id, text) = bench.token(Role::Reader, &[], None);
    let (other, _) = bench.token(Role::Admin, &[], None);
    let text = text.reveal();
    let forged = format!("{}{}", &text[..text.len() - 1], if text.ends_with('0') { '1' } else { '0' });
    let grant = "grant_type=client_credentials";
    for (form, status, error) in [
        (format!("{grant}&client_id={id}&client_secret={forged}"), 401, "invalid_client"),
        (format!("{grant}&client_id={other}&client_secret={text}"), 401, "invalid_client"),
        (format!("{grant}&client_id={id}"), 401, "invalid_client"),
        (grant.to_string(), 401, "invalid_client"),
        (format!("client_id={id}&client_secret={text}"), 400, "invalid_request"),
        ("grant_type=password&username=x&password=y".to_string(), 400, "unsupported_grant_type"),
    ] {
        let (found, answer) = bench.login(&form, &[]).await;
        assert_eq!((found.as_u16(), answer["error"].as_str()), (status, Some(error)), "{form}");
    }
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_over_http_by_admins_alone() {
    let bench = Bench::new(true);
    let (_, admin) = bench.token(Role::Admin, &[], None);
    let (_, writer) = bench.token(Role::Writer, &[], None);
    let bearer = format!("Bearer {}", admin.reveal());
    let headers = [("authorization", bearer.as_str())];
    let body = json!({ "role": "reader", "label": "l", "namespaces": [["a", "x"]], "lasts_seconds": 60 }).to_string();
    let (status, made) = bench.send("POST", "/access/tokens", &headers, &body).await;
    assert_eq!(status, 200, "{made}");
    let text = made["token"].as_str().expect("a token");
    let (_, listed) = bench.send("GET", "/access/tokens", &headers, "").await;
    assert_eq!(listed["tokens"].as_array().map(Vec::len), Some(3));
    assert!(listed.to_string().contains("\"l\"") && !listed.to_string().contains(&text[23..]), "no secret is listed");
    for (method, path) in [("GET", "/access/tokens"), ("POST", "/access/tokens"), ("DELETE", "/access/tokens/x")] {
        assert_eq!(bench.status(method, path, Some(writer.reveal())).await, 403, "{method} {path}");
    }
    for wrong in [json!({}), json!({ "role": "god" }), json!({ "role": "admin", "namespaces": [["a"]] })] {
        assert_eq!(bench.send("POST", "/access/tokens", &headers, &wrong.to_string()).await.0, 400, "{wrong}");
    }
    let id = made["info"]["id"].as_str().expect("an id");
    let path = format!("/access/tokens/{id}");
    assert_eq!(bench.status("DELETE", &path, Some(admin.reveal())).await, 204);
    assert_eq!(bench.status("DELETE", &path, Some(admin.reveal())).await, 404);
}
