//! Bearers of an OpenID Connect issuer: signed tokens (JWT), held against its published keys.
//!
//! Believed is only what an issuer signed with RS256 or ES256 under one of the keys it publishes (never `none`, never a
//! key or an algorithm of the token's own choosing), for our audience, and not past its end. A claim names the role,
//! another the namespaces. Keys are fetched when a key id is unknown, at most once in thirty seconds whoever asks, and
//! again each hour, so that a key the issuer has withdrawn is not believed for longer. An issuer that does not answer
//! leaves the keys as they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use iceberg::NamespaceIdent;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

use super::caller::{Caller, Role, Scope};
use super::tokens::Unknown;
use crate::error::{Error, Kind, Result};
use crate::system::System;

/// Keys are not fetched again before this.
const PAUSE: Duration = Duration::from_secs(30);
/// And are after this.
const FRESH: Duration = Duration::from_secs(3600);
/// By how much clocks may differ.
const LEEWAY_SECONDS: i64 = 30;
/// Bytes of a token, and keys of an issuer, at most.
const TOKEN: usize = 16 << 10;
const KEYS: usize = 100;

/// Whom to believe, and what his claims are called.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// What must be in their `aud`.
    pub audience: String,
    /// The claim with the role: a text, or a list of texts; the highest of ours counts. Dots lead into objects.
    pub role_claim: String,
    /// The claim with the namespaces, their levels joined by dots. Without it: all of them.
    pub namespaces_claim: String,
}

/// Where an issuer's keys come from.
pub trait KeySource: Send + Sync + std::fmt::Debug {
    /// The issuer's key set (JWKS), as JSON.
    ///
    /// # Errors
    /// If the issuer does not answer.
    fn fetch(&self) -> Result<Vec<u8>>;
}

#[derive(Clone, Debug)]
enum Key {
    /// Modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
    /// An uncompressed point of P-256.
    P256(Vec<u8>),
}

#[derive(Debug, Default)]
struct Keys {
    known: HashMap<String, Key>,
    fetched: Option<Duration>,
    tried: Option<Duration>,
}

/// An issuer and its keys as they are known; cheap to clone.
#[derive(Clone, Debug)]
pub struct Oidc {
    issuer: Arc<Issuer>,
    source: Arc<dyn KeySource>,
    system: System,
    keys: Arc<Mutex<Keys>>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Value,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    sub: String,
    #[serde(flatten)]
    more: HashMap<String, Value>,
}

fn part(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Whether a bearer has the form of a signed token.
pub fn is_signed_token(text: &str) -> bool {
    text.len() <= TOKEN && text.starts_with("ey") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl Oidc {
    /// An issuer whose keys come from `source`; none is fetched yet.
    pub fn new(issuer: Issuer, source: Arc<dyn KeySource>, system: System) -> Oidc {
        Oidc { issuer: Arc::new(issuer), source, system, keys: Arc::default() }
    }

    /// Who a signed token is of. It may wait for the issuer.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn caller(&self, text: &str) -> Result<Caller, Unknown> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Unknown::Wrong)?;
        let (header, payload) = signed.split_once('.').ok_or(Unknown::Wrong)?;
        let header: Header = read(header)?;
        let kid = header.kid.filter(|_| header.crit.is_none()).ok_or(Unknown::Wrong)?;
        let key = self.key(&kid)?.ok_or(Unknown::Wrong)?;
        let signature = part(signature).ok_or(Unknown::Wrong)?;
        if !verifies(&key, &header.alg, signed.as_bytes(), &signature) {
            return Err(Unknown::Wrong);
        }
        self.judge(read(payload)?)
    }

    fn judge(&self, claims: Claims) -> Result<Caller, Unknown> {
        let now = self.system.clock.now_ms() / 1000;
        let for_us = match &claims.aud {
            Value::String(one) => *one == self.issuer.audience,
            Value::Array(many) => many.iter().any(|one| one.as_str() == Some(&self.issuer.audience)),
            _ => false,
        };
        if claims.iss != self.issuer.issuer || !for_us || claims.nbf.is_some_and(|from| from > now + LEEWAY_SECONDS) {
            return Err(Unknown::Wrong);
        }
        if claims.exp.saturating_add(LEEWAY_SECONDS) <= now {
            return Err(Unknown::Expired);
        }
        let roles = claim(&claims.more, &self.issuer.role_claim).map(texts).unwrap_or_default();
        let role = roles.iter().filter_map(|name| name.parse::<Role>().ok()).max().ok_or(Unknown::NoRole)?;
        let scope = match claim(&claims.more, &self.issuer.namespaces_claim) {
            None => Scope::All,
            // An empty list is no namespace, not all of them.
            Some(names) => Scope::Within(texts(names).into_iter().filter_map(namespace).collect()),
        };
        Ok(Caller { name: format!("oidc:{}", claims.sub), role, scope })
    }

    fn key(&self, kid: &str) -> Result<Option<Key>, Unknown> {
        let now = self.system.clock.monotonic();
        let age = |at: Option<Duration>| at.map_or(Duration::MAX, |at| now.saturating_sub(at));
        {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let known = keys.known.get(kid).cloned();
            let stale = known.is_none() || age(keys.fetched) > FRESH;
            if !stale || age(keys.tried) < PAUSE {
                return Ok(known);
            }
            keys.tried = Some(now);
        }
        let fetched = self.source.fetch().and_then(|text| key_set(&text));
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(known) => {
                keys.known = known;
                keys.fetched = Some(now);
            }
            Err(error) => {
                tracing::warn!(%error, "the issuer's keys cannot be fetched; those known stay");
                if keys.fetched.is_none() {
                    return Err(Unknown::Failed(error));
                }
            }
        }
        Ok(keys.known.get(kid).cloned())
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Unknown> {
    part(text).and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or(Unknown::Wrong)
}

/// The algorithm is the key's: what the token says must agree with it.
fn verifies(key: &Key, algorithm: &str, signed: &[u8], signature: &[u8]) -> bool {
    match (key, algorithm) {
        (Key::Rsa(n, e), "RS256") => {
            RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
        }
        (Key::P256(point), "ES256") => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
        }
        _ => false,
    }
}

/// A claim; dots lead into objects.
fn claim<'a>(claims: &'a HashMap<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().into_iter().collect(),
    }
}

fn namespace(text: &str) -> Option<NamespaceIdent> {
    let levels: Vec<&str> = text.split('.').collect();
    if levels.iter().any(|level| level.is_empty()) {
        return None;
    }
    NamespaceIdent::from_strs(levels).ok()
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Published>,
}

#[derive(Deserialize)]
struct Published {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

fn key_set(text: &[u8]) -> Result<HashMap<String, Key>> {
    let set: KeySet = serde_json::from_slice(text)
        .map_err(|error| Error::new(Kind::Invalid, "the issuer's keys are no JWKS").because(error))?;
    let usable = |key: Published| {
        let kid = key.kid.clone().filter(|_| key.usage.as_deref().is_none_or(|usage| usage == "sig"))?;
        Some((kid, read_key(&key)?))
    };
    Ok(set.keys.into_iter().filter_map(usable).take(KEYS).collect())
}

fn read_key(key: &Published) -> Option<Key> {
    let bytes = |text: &Option<String>| part(text.as_deref()?);
    match key.kty.as_str() {
        "RSA" => Some(Key::Rsa(bytes(&key.n)?, bytes(&key.e)?)),
        "EC" if key.crv.as_deref() == Some("P-256") => {
            let (x, y) = (bytes(&key.x)?, bytes(&key.y)?);
            (x.len() == 32 && y.len() == 32).then(|| Key::P256([vec![4], x, y].concat()))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "oidc_tests.rs"]
mod tests;
