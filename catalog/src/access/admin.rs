//! Tokens over HTTP, for admins: `GET` and `POST /access/tokens`, `DELETE /access/tokens/{token}`.
//!
//! Outside of `/v1`, which is the protocol's. A token's text is in the answer that makes it, and nowhere after.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use http::{StatusCode, header};
use iceberg::NamespaceIdent;
use serde::Deserialize;
use serde_json::json;

use super::gate::Touched;
use super::tokens::{NewToken, Tokens};
use crate::error::{Error, Kind, Result};
use crate::rest::{Answer, blocking, parse};

/// The routes.
pub fn router<S: Clone + Send + Sync + 'static>(tokens: Tokens) -> Router<S> {
    Router::new()
        .route("/access/tokens", get(list).post(create))
        .route("/access/tokens/{token}", delete(revoke))
        .with_state(tokens)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    role: String,
    #[serde(default)]
    label: String,
    /// Each as its levels.
    #[serde(default)]
    namespaces: Vec<Vec<String>>,
    #[serde(default)]
    lasts_seconds: Option<u64>,
}

impl Create {
    fn token(self) -> Result<NewToken> {
        let invalid = |error| Error::new(Kind::Invalid, "not a namespace").because(error);
        let idents = self.namespaces.into_iter().map(|levels| NamespaceIdent::from_vec(levels).map_err(invalid));
        Ok(NewToken {
            label: self.label,
            role: self.role.parse()?,
            namespaces: idents.collect::<Result<_>>()?,
            lasts: self.lasts_seconds.map(Duration::from_secs),
        })
    }
}

async fn list(State(tokens): State<Tokens>) -> Answer {
    let tokens = blocking(move || tokens.list()).await?;
    Ok(axum::Json(json!({ "tokens": tokens })).into_response())
}

async fn create(State(tokens): State<Tokens>, body: Bytes) -> Answer {
    let new = parse::<Create>(&body)?.token()?;
    let (info, text) = blocking(move || tokens.create(new)).await?;
    let touched = Touched(format!("token {} made: {} of {:?}", info.id, info.role, info.namespaces));
    let body = json!({ "token": text.reveal(), "info": info });
    let mut response = ([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response();
    response.extensions_mut().insert(touched);
    Ok(response)
}

async fn revoke(State(tokens): State<Tokens>, Path(token): Path<String>) -> Answer {
    blocking(move || tokens.revoke(&token)).await?;
    Ok::<Response, _>(StatusCode::NO_CONTENT.into_response())
}
