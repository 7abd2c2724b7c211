//! A daemon as `lakectl` reaches it: its URL, a token, and whose certificates are believed.
//!
//! One agent, cheap to clone, that sends the token with each request. It follows no redirect: the token is for the
//! daemon alone.

use std::sync::Arc;

use laked_catalog::access::Secret;
use serde::de::DeserializeOwned;
use ureq::http::header::AUTHORIZATION;
use ureq::http::{HeaderValue, Request, Response};
use ureq::middleware::MiddlewareNext;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody};

use crate::error::{Error, Kind, Result};

/// The largest answer, in bytes.
const ANSWER: u64 = 1 << 30;

/// A running daemon.
#[derive(Clone, Debug)]
pub struct Remote {
    url: String,
    agent: Agent,
}

impl Remote {
    /// The daemon at `url`, as `http://127.0.0.1:8181`. `authorities` are PEM certificates that are believed in place of
    /// the usual ones.
    ///
    /// # Errors
    /// `Invalid` for a token that no header can hold, or no PEM.
    pub fn new(url: &str, token: Option<&Secret>, authorities: Option<&[u8]>) -> Result<Remote> {
        let bearer = token.map(bearer_of).transpose()?;
        let send = move |mut request: Request<SendBody<'_>>, next: MiddlewareNext<'_>| {
            if let Some(bearer) = &bearer {
                request.headers_mut().insert(AUTHORIZATION, bearer.clone());
            }
            next.handle(request)
        };
        let mut config = Agent::config_builder().http_status_as_error(false).max_redirects(0).middleware(send);
        if let Some(pem) = authorities {
            config = config.tls_config(TlsConfig::builder().root_certs(roots(pem)?).build());
        }
        Ok(Remote { url: url.trim_end_matches('/').to_owned(), agent: config.build().into() })
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// For requests that are not plain JSON.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// GETs JSON; `path` begins with a slash.
    ///
    /// # Errors
    /// `Unavailable` if nobody answers, or not now; `Unknown` if the daemon failed; `NotFound`; `Forbidden`; `Conflict`; `Invalid` with the daemon's words otherwise.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let url = format!("{}{path}", self.url);
        let response = self.agent.get(&url).call().map_err(|error| silent(&url, error))?;
        decoded(&url, &answered(&url, response)?)
    }

    /// POSTs JSON, and gives the answer's body.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub fn post(&self, path: &str, body: &serde_json::Value) -> Result<Vec<u8>> {
        let url = format!("{}{path}", self.url);
        let response = self.agent.post(&url).send_json(body).map_err(|error| silent(&url, error))?;
        answered(&url, response)
    }

    /// The same, and reads the answer as JSON.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub fn ask<T: DeserializeOwned>(&self, path: &str, body: &serde_json::Value) -> Result<T> {
        decoded(path, &self.post(path, body)?)
    }

    /// DELETEs.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub fn delete(&self, path: &str) -> Result<()> {
        let url = format!("{}{path}", self.url);
        let response = self.agent.delete(&url).call().map_err(|error| silent(&url, error))?;
        answered(&url, response).map(drop)
    }
}

fn bearer_of(token: &Secret) -> Result<HeaderValue> {
    let wrong = |_| Error::new(Kind::Invalid, "the token holds characters that no token has: is it the right file?");
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).map_err(wrong)?;
    value.set_sensitive(true);
    Ok(value)
}

fn roots(pem: &[u8]) -> Result<RootCerts> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        let item = item.map_err(|error| Error::new(Kind::Invalid, "--ca-file is no PEM file").because(error))?;
        if let PemItem::Certificate(certificate) = item {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(Error::new(Kind::Invalid, "--ca-file holds no certificate"));
    }
    Ok(RootCerts::Specific(Arc::new(found)))
}

fn silent(url: &str, error: ureq::Error) -> Error {
    Error::new(Kind::Unavailable, "the daemon does not answer: start `laked`, or give --url or --lake")
        .with("url", url)
        .because(error)
}

fn decoded<T: DeserializeOwned>(url: &str, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|error| Error::new(Kind::Invalid, "not the answer of a laked daemon").with("url", url).because(error))
}

fn answered(url: &str, mut response: Response<Body>) -> Result<Vec<u8>> {
    let body = response.body_mut().with_config().limit(ANSWER).read_to_vec();
    let body = body.map_err(|error| Error::new(Kind::Unavailable, "the daemon's answer broke off").because(error))?;
    let status = response.status().as_u16();
    let words = || said(&body);
    let refused = |kind, message: &str| Err(Error::new(kind, message).with("url", url).with("answer", words()));
    match status {
        200..300 => Ok(body),
        401 => refused(Kind::Forbidden, "the daemon asks for a token: set LAKECTL_TOKEN, or give --token-file"),
        403 => refused(Kind::Forbidden, "the daemon does not allow it"),
        404 => Err(Error::new(Kind::NotFound, "the daemon knows no such thing").with("url", url)),
        409 => Err(Error::new(Kind::Conflict, words()).with("url", url)),
        503 => refused(Kind::Unavailable, "the daemon cannot do it now: try again"),
        500.. => refused(Kind::Unknown, "the daemon failed; if this was to change something, look whether it did"),
        _ => Err(Error::new(Kind::Invalid, words()).with("status", status).with("url", url)),
    }
}

/// What an answer says in words: a problem's detail, an error's message, or all of it.
fn said(body: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let words = json["detail"].as_str().or_else(|| json["error"]["message"].as_str());
    let all = || Some(String::from_utf8_lossy(body).into_owned()).filter(|text| !text.is_empty());
    words.map(str::to_string).or_else(all).unwrap_or_else(|| "the daemon refuses".to_string())
}
