//! `POST /v1/oauth/tokens`: a token is changed into a session of an hour, as Iceberg's clients do by themselves.
//!
//! - `grant_type=client_credentials`: `client_secret` is the token, `client_id` its id (or nothing: `credential` without
//!   a colon), in the form or as HTTP Basic. `scope` is read past: what a caller may, its token says.
//! - `grant_type=urn:ietf:params:oauth:grant-type:token-exchange`: how the Java client renews: a session or a token in
//!   `subject_token`. An expired session is renewed where HTTP Basic holds the token.
//!
//! Errors are OAuth's (RFC 6749, section 5.2): `{"error", "error_description"}`.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use super::secret::{self, Bearer, Secret};
use super::tokens::{Tokens, Unknown};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// A form's fields, at most.
const FIELDS: usize = 32;

/// The route.
pub fn router<S: Clone + Send + Sync + 'static>(tokens: Tokens) -> Router<S> {
    Router::new().route("/v1/oauth/tokens", post(login)).with_state(tokens)
}

/// What is asked for, whichever way it came.
#[derive(Debug, Default)]
struct Asked {
    grant: String,
    id: Option<String>,
    secret: Option<Secret>,
    subject: Option<Secret>,
    /// Of HTTP Basic.
    basic: Option<(String, Secret)>,
}

impl Asked {
    fn read(headers: &HeaderMap, body: &[u8]) -> Asked {
        let mut asked = Asked { basic: basic_of(headers), ..Asked::default() };
        for (name, value) in form_urlencoded::parse(body).take(FIELDS) {
            let value = value.into_owned();
            match name.as_ref() {
                "grant_type" => asked.grant = value,
                "client_id" => asked.id = Some(value).filter(|id| !id.is_empty()),
                "client_secret" => asked.secret = Some(Secret::new(value)),
                "subject_token" => asked.subject = Some(Secret::new(value)),
                _ => {}
            }
        }
        asked
    }

    /// The token, if its id is the one that is said.
    fn credentials(&self) -> Option<&Secret> {
        let (id, secret) = match (&self.secret, &self.basic) {
            (Some(secret), _) => (self.id.as_deref(), secret),
            (None, Some((id, secret))) => (Some(id.as_str()).filter(|id| !id.is_empty()), secret),
            (None, None) => return None,
        };
        let Bearer::Token { id: own, .. } = secret::read(secret.reveal()) else { return None };
        id.is_none_or(|id| id == own).then_some(secret)
    }
}

fn basic_of(headers: &HeaderMap) -> Option<(String, Secret)> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
    let (id, secret) = std::str::from_utf8(&text).ok()?.split_once(':')?;
    Some((id.to_string(), Secret::new(secret)))
}

async fn login(State(tokens): State<Tokens>, headers: HeaderMap, body: Bytes) -> Response {
    let asked = Asked::read(&headers, &body);
    let bearers: Vec<&Secret> = match asked.grant.as_str() {
        "client_credentials" => asked.credentials().into_iter().collect(),
        EXCHANGE => asked.subject.iter().chain(asked.credentials()).collect(),
        "" => return refused(StatusCode::BAD_REQUEST, "invalid_request", "grant_type is missing"),
        _ => {
            let words = "grant_type is client_credentials or token-exchange";
            return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type", words);
        }
    };
    let bearers: Vec<Secret> = bearers.into_iter().cloned().collect();
    let logged_in = tokio::task::spawn_blocking(move || {
        let mut outcome = Err(Unknown::Wrong);
        for bearer in &bearers {
            outcome = tokens.login(bearer.reveal());
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    });
    match logged_in.await {
        Ok(Ok((caller, session, lasts))) => {
            tracing::debug!(target: "audit", who = ?caller.name, "logged in");
            let body = json!({
                "access_token": session.reveal(),
                "token_type": "bearer",
                "expires_in": lasts.as_secs(),
                "issued_token_type": ACCESS_TOKEN,
            });
            ([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
        }
        Ok(Err(Unknown::Failed(error))) => {
            tracing::error!(%error, "a login could not be looked up");
            refused(StatusCode::SERVICE_UNAVAILABLE, "server_error", "tokens cannot be looked up now; try again")
        }
        Ok(Err(unknown)) => refused(StatusCode::UNAUTHORIZED, "invalid_client", words_of(&unknown)),
        Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the login panicked: a bug of laked"),
    }
}

fn words_of(unknown: &Unknown) -> &'static str {
    match unknown {
        Unknown::Expired => "the token has expired: ask for another",
        Unknown::Revoked => "the token was revoked: ask for another",
        _ => "client_secret is no token of this catalog, or client_id is not its id (lakectl token create makes one)",
    }
}

fn refused(status: StatusCode, error: &str, description: &str) -> Response {
    // Most clients read OAuth's words; what reads the protocol's finds those too.
    let protocol = json!({ "message": description, "type": "NotAuthorizedException", "code": status.as_u16() });
    let body = match status {
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => {
            json!({ "error": error, "error_description": description })
        }
        _ => json!({ "error": protocol }),
    };
    (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}
