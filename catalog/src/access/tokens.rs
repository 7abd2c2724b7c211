//! Tokens: made, listed, revoked, and recognised.
//!
//! A token that was looked up is remembered for two seconds, so that a busy client costs one query in that time; a
//! token revoked through this process is forgotten at once, one revoked by `lakectl --lake` after those two seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use iceberg::NamespaceIdent;
use serde::{Deserialize, Serialize};

use super::caller::{Caller, Role, Scope};
use super::secret::{self, Bearer, Secret};
use crate::error::{Error, Kind, Result};
use crate::state::{State, TokenRow};
use crate::system::System;

/// How long what was looked up is believed.
const BELIEVED: Duration = Duration::from_secs(2);
/// Tokens remembered, at most.
const REMEMBERED: usize = 10_000;
/// How long a session lasts at most.
pub const SESSION: Duration = Duration::from_secs(3600);
/// A label's bytes, at most.
const LABEL: usize = 200;

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What it is for, in its maker's words.
    pub label: String,
    /// What it may do.
    pub role: Role,
    /// Where; empty for everywhere.
    pub namespaces: Vec<NamespaceIdent>,
    /// How long it lasts; for ever if absent.
    pub lasts: Option<Duration>,
}

/// A token as it is listed: everything but its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its public part, which is also the `client_id` of a login.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// Its role's name.
    pub role: String,
    /// Its namespaces, each as its levels; empty for all.
    pub namespaces: Vec<Vec<String>>,
    /// When it was made, in milliseconds since 1970.
    pub made_ms: i64,
    /// When it ends.
    pub expires_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_ms: Option<i64>,
}

/// Why a bearer is not believed. The words are for its sender, and the same for every wrong one.
#[derive(Debug)]
pub enum Unknown {
    /// It is not one of ours, or its secret is wrong.
    Wrong,
    /// It has ended.
    Expired,
    /// It was revoked.
    Revoked,
    /// An issuer vouches for it, and none of its claims is a role of ours.
    NoRole,
    /// It cannot be looked up now.
    Failed(Error),
}

/// What was looked up and when.
#[derive(Debug, Default)]
struct Believed {
    tokens: HashMap<String, (Duration, TokenRow)>,
    on: bool,
    looked: Option<Duration>,
}

/// The tokens of a catalog; cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokens {
    state: State,
    system: System,
    believed: Arc<Mutex<Believed>>,
    key: Arc<OnceLock<String>>,
}

impl Tokens {
    pub(crate) fn new(state: State, system: System) -> Tokens {
        Tokens { state, system, believed: Arc::default(), key: Arc::default() }
    }

    fn believed(&self) -> std::sync::MutexGuard<'_, Believed> {
        self.believed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a token. Its text is given here and never again.
    ///
    /// # Errors
    /// `Invalid` for what contradicts itself; database errors.
    pub fn create(&self, new: NewToken) -> Result<(TokenInfo, Secret)> {
        if new.role == Role::Admin && !new.namespaces.is_empty() {
            return Err(Error::new(Kind::Invalid, "an admin is one of everything: leave the namespaces out"));
        }
        if new.label.len() > LABEL || new.label.chars().any(char::is_control) {
            return Err(Error::new(Kind::Invalid, "a label has 200 bytes at most, and no control characters"));
        }
        let now = self.system.clock.now_ms();
        let expires_ms = match new.lasts {
            None => None,
            Some(time) if time.is_zero() => return Err(Error::new(Kind::Invalid, "a token must last for some time")),
            Some(time) => Some(now.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))),
        };
        let (id, text, hash) = secret::mint()?;
        let namespaces: Vec<String> = new.namespaces.iter().map(|namespace| namespace.join("\u{1f}")).collect();
        let namespaces = serde_json::to_string(&namespaces)
            .map_err(|error| Error::new(Kind::Internal, "encoding namespaces").because(error))?;
        let role = new.role.name().to_string();
        let row = TokenRow { id, label: new.label, role, namespaces, hash, made_ms: now, expires_ms, revoked_ms: None };
        self.state.add_token(&row)?;
        self.believed().on = true;
        Ok((info(row)?, text))
    }

    /// Every token that was made, revoked and expired ones too.
    ///
    /// # Errors
    /// Database errors.
    pub fn list(&self) -> Result<Vec<TokenInfo>> {
        self.state.tokens()?.into_iter().map(info).collect()
    }

    /// Revokes a token, and with it its sessions.
    ///
    /// # Errors
    /// `NotFound`, also if it is revoked already; database errors.
    pub fn revoke(&self, id: &str) -> Result<()> {
        let found = self.state.revoke_token(id, self.system.clock.now_ms())?;
        self.believed().tokens.remove(id);
        if found {
            Ok(())
        } else {
            Err(Error::new(Kind::NotFound, "there is no such token to revoke").with("token", id))
        }
    }

    /// Whether a token was ever made, if that is in memory.
    pub(super) fn any_at_hand(&self) -> Option<bool> {
        let now = self.system.clock.monotonic();
        let believed = self.believed();
        let fresh = believed.on || believed.looked.is_some_and(|at| now.saturating_sub(at) < BELIEVED);
        fresh.then_some(believed.on)
    }

    /// Whether a token was ever made.
    ///
    /// # Errors
    /// Database errors.
    pub fn any(&self) -> Result<bool> {
        if let Some(any) = self.any_at_hand() {
            return Ok(any);
        }
        let now = self.system.clock.monotonic();
        let any = self.state.any_token()?;
        let mut believed = self.believed();
        believed.on |= any;
        believed.looked = Some(now);
        Ok(believed.on)
    }

    /// Whether the answer to this bearer is in memory, so that asking for it does not touch the database.
    pub(super) fn is_at_hand(&self, bearer: &str) -> bool {
        let now = self.system.clock.monotonic();
        match secret::read(bearer) {
            Bearer::Other => true,
            Bearer::Session { .. } if self.key.get().is_none() => false,
            Bearer::Token { id, .. } | Bearer::Session { id, .. } => {
                self.believed().tokens.get(id).is_some_and(|(at, _)| now.saturating_sub(*at) < BELIEVED)
            }
        }
    }

    /// Who a bearer is.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn caller(&self, bearer: &str) -> Result<Caller, Unknown> {
        let row = match secret::read(bearer) {
            Bearer::Other => return Err(Unknown::Wrong),
            Bearer::Token { id, secret } => {
                let row = self.row(id)?.ok_or(Unknown::Wrong)?;
                if !secret::fits(secret, &row.hash) {
                    return Err(Unknown::Wrong);
                }
                row
            }
            Bearer::Session { id, expires_ms, signed, mac } => {
                if !secret::is_signed(self.key().map_err(Unknown::Failed)?, signed, mac) {
                    return Err(Unknown::Wrong);
                }
                if expires_ms <= self.system.clock.now_ms() {
                    return Err(Unknown::Expired);
                }
                self.row(id)?.ok_or(Unknown::Wrong)?
            }
        };
        if row.revoked_ms.is_some() {
            return Err(Unknown::Revoked);
        }
        if row.expires_ms.is_some_and(|at| at <= self.system.clock.now_ms()) {
            return Err(Unknown::Expired);
        }
        self.caller_of(row).map_err(Unknown::Failed)
    }

    fn caller_of(&self, row: TokenRow) -> Result<Caller> {
        let role = row.role.parse().map_err(|error| Error::new(Kind::Corrupt, "a token's role").because(error))?;
        Ok(Caller { name: row.id, role, scope: Scope::of(namespaces_of(&row.namespaces)?) })
    }

    fn row(&self, id: &str) -> Result<Option<TokenRow>, Unknown> {
        let now = self.system.clock.monotonic();
        if let Some((at, row)) = self.believed().tokens.get(id)
            && now.saturating_sub(*at) < BELIEVED
        {
            return Ok(Some(row.clone()));
        }
        let found = self.state.token(id).map_err(Unknown::Failed)?;
        let mut believed = self.believed();
        match &found {
            None => drop(believed.tokens.remove(id)),
            Some(row) => {
                if believed.tokens.len() >= REMEMBERED {
                    believed.tokens.clear();
                }
                believed.tokens.insert(id.to_string(), (now, row.clone()));
            }
        }
        Ok(found)
    }

    fn key(&self) -> Result<&str> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let kept = self.state.session_key(&secret::random_hex(32)?)?;
        Ok(self.key.get_or_init(|| kept))
    }

    /// A session for whoever holds this token or session, and how long it lasts: never longer than the token.
    ///
    /// # Errors
    /// Why the bearer is not believed.
    pub fn login(&self, bearer: &str) -> Result<(Caller, Secret, Duration), Unknown> {
        let caller = self.caller(bearer)?;
        let now = self.system.clock.now_ms();
        let most = i64::try_from(SESSION.as_millis()).unwrap_or(i64::MAX);
        let ends = self.row(&caller.name)?.and_then(|row| row.expires_ms).unwrap_or(i64::MAX);
        let lasts = most.min(ends - now);
        let session = secret::session(self.key().map_err(Unknown::Failed)?, &caller.name, now + lasts);
        Ok((caller, session, Duration::from_millis(lasts.unsigned_abs())))
    }
}

fn namespaces_of(text: &str) -> Result<Vec<NamespaceIdent>> {
    let corrupt = || Error::new(Kind::Corrupt, "a token's namespaces");
    let names: Vec<String> = serde_json::from_str(text).map_err(|error| corrupt().because(error))?;
    names
        .iter()
        .map(|name| NamespaceIdent::from_strs(name.split('\u{1f}')).map_err(|error| corrupt().because(error)))
        .collect()
}

fn info(row: TokenRow) -> Result<TokenInfo> {
    let namespaces = namespaces_of(&row.namespaces)?.into_iter().map(NamespaceIdent::inner).collect();
    let TokenRow { id, label, role, made_ms, expires_ms, revoked_ms, .. } = row;
    Ok(TokenInfo { id, label, role, namespaces, made_ms, expires_ms, revoked_ms })
}
