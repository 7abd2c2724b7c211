//! The check in front of every route of a listener.
//!
//! In order: the route has a rule, or is refused; the bearer is believed, or 401; the rule holds, or 403. What changes
//! something gets a line in the log, target `audit`: who, what, from where, how it ended. A path that no route has is
//! answered by the router's own 404, which tells nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, RawPathParams, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::json;

use super::caller::Caller;
use super::oidc::{Oidc, is_signed_token};
use super::rules::{Needs, Rule, find, methods};
use super::tokens::{Tokens, Unknown};
use crate::error::{Error, Kind, Result};
use crate::rest::{Failure, namespace_of};

/// Who believes bearers, and whether they must.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The tokens.
    pub tokens: Tokens,
    /// Whether there must be one even if none was ever made.
    pub always: bool,
    /// An issuer whose tokens are believed too.
    pub oidc: Option<Oidc>,
}

/// What a change was about, where the path does not say it: a handler leaves it in its response for the audit log.
#[derive(Clone, Debug)]
pub struct Touched(pub String);

/// What is read of a body that is refused.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

#[derive(Clone)]
struct Guarding {
    gate: Gate,
    rules: Arc<[Rule]>,
}

/// Puts the gate before every route of `router`. Without a rule in `rules` a route is refused.
pub fn guarded(router: Router, gate: Gate, rules: &[Rule]) -> Router {
    router.layer(from_fn_with_state(Guarding { gate, rules: rules.into() }, check))
}

/// Why a request does not get through.
enum Refused {
    /// Who it is, is not known.
    Unknown(Unknown),
    /// Nothing was said of who it is.
    Silent,
    /// Known, and not allowed.
    Forbidden(Error),
    /// No rule for its method, but for these.
    Method(String),
    /// It cannot be told now.
    Failed(Error),
}

async fn check(
    State(guarding): State<Guarding>,
    path: Option<MatchedPath>,
    parameters: Result<RawPathParams, axum::extract::rejection::RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(path) = path else { return next.run(request).await };
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
    let (method, uri) = (request.method().clone(), request.uri().path().to_string());
    let namespace = match &parameters {
        Ok(parameters) => parameters.iter().find(|(name, _)| *name == "namespace").map(|(_, value)| value.to_string()),
        Err(rejection) => return rejection_of(rejection, &uri),
    };
    let judged = guarding.judge(&method, path.as_str(), namespace.as_deref(), request.headers()).await;
    let (caller, needs) = match judged {
        Ok(judged) => judged,
        Err(refused) => {
            let response = refused.answer(&uri);
            linger(request);
            audit("nobody", from, &method, &uri, None, response.status());
            return response;
        }
    };
    let caller = match caller {
        Ok(caller) => caller,
        Err((caller, error)) => {
            let response = Refused::Forbidden(error).answer(&uri);
            linger(request);
            audit(&caller.name, from, &method, &uri, None, response.status());
            return response;
        }
    };
    let name = caller.as_ref().map(|caller| caller.name.clone());
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let response = next.run(request).await;
    if needs.changes(method.as_str()) {
        let touched = response.extensions().get::<Touched>().cloned();
        audit(name.as_deref().unwrap_or("nobody"), from, &method, &uri, touched.as_ref(), response.status());
    }
    response
}

/// Reads a little on, so that a sender whose body is under way gets to see why it is not wanted. Who asks before it sends
/// (`Expect`) need not send it.
fn linger(request: Request) {
    if request.headers().contains_key(header::EXPECT) {
        return;
    }
    let mut body = request.into_body().into_data_stream();
    tokio::spawn(tokio::time::timeout(LINGER, async move {
        let mut left = LINGER_BYTES;
        while let Some(Ok(chunk)) = body.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    }));
}

fn audit(
    who: &str,
    from: Option<SocketAddr>,
    method: &Method,
    path: &str,
    touched: Option<&Touched>,
    status: StatusCode,
) {
    let from = from.map_or_else(|| "-".to_string(), |peer| peer.to_string());
    let (method, status) = (method.as_str(), status.as_u16());
    match touched {
        Some(Touched(what)) => {
            tracing::info!(target: "audit", who = ?who, from, method, path = ?path, touched = ?what, status, "audit");
        }
        None => tracing::info!(target: "audit", who = ?who, from, method, path = ?path, status, "audit"),
    }
}

type Judged = (Result<Option<Caller>, (Caller, Error)>, Needs);

impl Guarding {
    async fn judge(
        &self,
        method: &Method,
        path: &str,
        namespace: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Judged, Refused> {
        let Some(needs) = find(&self.rules, method.as_str(), path) else {
            return Err(self.no_rule(path));
        };
        let on = self.is_on().await.map_err(Refused::Failed)?;
        if !on {
            from_a_page(headers).map_err(Refused::Forbidden)?;
            return Ok((Ok(Some(Caller::anyone())), needs));
        }
        let found = self.recognise(headers).await;
        if needs == Needs::Nothing {
            return Ok((Ok(found.ok()), needs));
        }
        let caller = found?;
        match allowed(&caller, needs, namespace) {
            Ok(()) => Ok((Ok(Some(caller)), needs)),
            Err(error) => Ok((Err((caller, error)), needs)),
        }
    }

    fn no_rule(&self, path: &str) -> Refused {
        let allowed: Vec<&str> = methods(&self.rules, path).collect();
        if allowed.is_empty() {
            let message = "no rule says who may use this route, so nobody may: a bug of laked";
            return Refused::Forbidden(Error::new(Kind::Forbidden, message).with("route", path));
        }
        Refused::Method(allowed.join(", "))
    }

    async fn is_on(&self) -> Result<bool> {
        if self.gate.always {
            return Ok(true);
        }
        if let Some(on) = self.gate.tokens.any_at_hand() {
            return Ok(on);
        }
        let tokens = self.gate.tokens.clone();
        blocking(move || tokens.any()).await?
    }

    async fn recognise(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let bearer = bearer_of(headers).ok_or(Refused::Silent)?;
        let tokens = &self.gate.tokens;
        if let Some(oidc) = self.gate.oidc.as_ref().filter(|_| is_signed_token(bearer)) {
            let (oidc, bearer) = (oidc.clone(), bearer.to_string());
            let found = blocking(move || oidc.caller(&bearer)).await.map_err(Refused::Failed)?;
            return found.map_err(Refused::Unknown);
        }
        if tokens.is_at_hand(bearer) {
            return tokens.caller(bearer).map_err(Refused::Unknown);
        }
        let (tokens, bearer) = (tokens.clone(), bearer.to_string());
        let found = blocking(move || tokens.caller(&bearer)).await.map_err(Refused::Failed)?;
        found.map_err(Refused::Unknown)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let panicked = |error| Error::new(Kind::Internal, "checking a caller panicked").because(error);
    tokio::task::spawn_blocking(work).await.map_err(panicked)
}

fn allowed(caller: &Caller, needs: Needs, namespace: Option<&str>) -> Result<()> {
    let without = || Error::new(Kind::Forbidden, "a rule about a namespace for a route without one: a bug of laked");
    match needs {
        Needs::Nothing | Needs::Known => Ok(()),
        // A namespace that is none is the handler's to refuse, with its own words; nobody's scope has it.
        Needs::Within(role) => match namespace_of(namespace.ok_or_else(without)?) {
            Ok(namespace) => caller.may(role, &namespace),
            Err(_) => caller.may_all(role),
        },
        Needs::Dotted(role) => caller.may_dotted(role, namespace.ok_or_else(without)?),
        Needs::Named(role) => caller.has(role),
        Needs::Whole(role) => caller.may_all(role),
    }
}

/// The text after `Bearer`, whatever its case.
pub fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim())
}

/// While nothing is checked, a web page in a browser on this machine must not get to act for whoever sits there: not by
/// a request of its own (it has an `Origin`), nor by a name of its server that now leads here (it is in `Host`).
fn from_a_page(headers: &HeaderMap) -> Result<()> {
    let message =
        "while no token is asked for, web pages are not served: make a token (lakectl token create) and send it";
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
        return Err(Error::new(Kind::Forbidden, message).with("origin", origin));
    }
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return Ok(()) };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if bare.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    let message =
        "while no token is asked for, this machine goes by localhost or its address: use that, or make a token";
    Err(Error::new(Kind::Forbidden, message).with("host", host))
}

fn rejection_of(rejection: &axum::extract::rejection::RawPathParamsRejection, uri: &str) -> Response {
    shaped(uri, StatusCode::BAD_REQUEST, "BadRequestException", "The path cannot be read", &rejection.body_text())
}

impl Refused {
    fn answer(self, uri: &str) -> Response {
        let known = "send a bearer token (lakectl token create makes one), or log in at /v1/oauth/tokens";
        let unknown = |why: &str| unauthorized(uri, &format!("{why}: {known}"));
        match self {
            Refused::Silent => unknown("who calls is not said"),
            Refused::Unknown(Unknown::Wrong) => unknown("the bearer token is not one of this catalog"),
            Refused::Unknown(Unknown::Expired) => unknown("the bearer token has expired"),
            Refused::Unknown(Unknown::Revoked) => unknown("the bearer token was revoked"),
            Refused::Unknown(Unknown::NoRole) => {
                let detail = "the issuer names no role of ours for this caller: reader, writer or admin";
                shaped(uri, StatusCode::FORBIDDEN, "ForbiddenException", "Not allowed", detail)
            }
            Refused::Forbidden(error) => {
                shaped(uri, StatusCode::FORBIDDEN, "ForbiddenException", "Not allowed", &error.to_string())
            }
            Refused::Method(allowed) => {
                let detail = format!("this route takes {allowed}");
                let (status, name) = (StatusCode::METHOD_NOT_ALLOWED, "UnsupportedOperationException");
                let mut response = shaped(uri, status, name, "Method not allowed", &detail);
                if let Ok(value) = HeaderValue::from_str(&allowed) {
                    response.headers_mut().insert(header::ALLOW, value);
                }
                response
            }
            Refused::Unknown(Unknown::Failed(error)) | Refused::Failed(error) => Failure::from(error).into_response(),
        }
    }
}

fn unauthorized(uri: &str, detail: &str) -> Response {
    let mut response =
        shaped(uri, StatusCode::UNAUTHORIZED, "NotAuthorizedException", "Who calls is not known", detail);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"laked\""));
    response
}

/// A refusal as the protocol shapes it, or as a problem (RFC 9457) outside of the protocol.
fn shaped(uri: &str, status: StatusCode, exception: &str, title: &str, detail: &str) -> Response {
    let code = status.as_u16();
    if uri.starts_with("/v1/") {
        let error = json!({ "message": detail, "type": exception, "code": code });
        return (status, axum::Json(json!({ "error": error }))).into_response();
    }
    let slug = match code {
        401 => "not-authorized",
        403 => "forbidden",
        405 => "method-not-allowed",
        _ => "bad-request",
    };
    let problem =
        json!({ "type": format!("urn:laked:problem:{slug}"), "title": title, "status": code, "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], problem.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn pages_and_foreign_names_are_refused_while_nothing_is_checked() {
        for host in ["localhost", "localhost:8181", "127.0.0.1:1", "[::1]:8181", "[::1]", "192.0.2.1:80"] {
            assert!(from_a_page(&headers(header::HOST, host)).is_ok(), "{host}");
        }
        for host in ["evil.example", "evil.example:8181", "localhost.evil.example:8181", "127.0.0.1.evil.example"] {
            assert!(from_a_page(&headers(header::HOST, host)).is_err(), "{host}");
        }
        assert!(from_a_page(&headers(header::ORIGIN, "http://localhost:3000")).is_err());
        assert!(from_a_page(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_bearer_is_read_whatever_its_case() {
        assert_eq!(bearer_of(&headers(header::AUTHORIZATION, "bearer  x ")), Some("x"));
        assert_eq!(bearer_of(&headers(header::AUTHORIZATION, "Basic eDp5")), None);
        assert_eq!(bearer_of(&headers(header::AUTHORIZATION, "Bearer")), None);
    }
}
