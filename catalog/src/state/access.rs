//! Tokens and the key that signs sessions.
//!
//! A token's row is never deleted: that one was ever made is what turns the checks on, and revoking the last must not
//! turn them off.

use super::State;
use super::session::{Row, Value};
use crate::error::{Error, Kind, Result};

/// A token as it is kept: its secret only as a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Its public part.
    pub id: String,
    /// What it is for, in its maker's words.
    pub label: String,
    /// The role's name.
    pub role: String,
    /// The namespaces as a JSON list of texts, levels joined by U+001F; empty for all.
    pub namespaces: String,
    /// SHA-256 of the secret, in hex.
    pub hash: String,
    /// When it was made, in milliseconds since 1970.
    pub made_ms: i64,
    /// When it ends, if ever.
    pub expires_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_ms: Option<i64>,
}

fn token_row(row: &mut Row) -> Result<TokenRow> {
    Ok(TokenRow {
        id: row.text(0)?,
        label: row.text(1)?,
        role: row.text(2)?,
        namespaces: row.text(3)?,
        hash: row.text(4)?,
        made_ms: row.integer(5)?,
        expires_ms: optional(row, 6)?,
        revoked_ms: optional(row, 7)?,
    })
}

fn optional(row: &mut Row, column: usize) -> Result<Option<i64>> {
    if matches!(row.0.get(column), Some(Value::Null)) { Ok(None) } else { row.integer(column).map(Some) }
}

impl State {
    /// Keeps a new token.
    pub fn add_token(&self, token: &TokenRow) -> Result<()> {
        let sql = "INSERT INTO access_tokens (id, label, role, namespaces, hash, made_ms, expires_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let TokenRow { id, label, role, namespaces, hash, made_ms, expires_ms, revoked_ms: _ } = token;
        self.transact(|session| {
            let ends: Value<'_> = (*expires_ms).into();
            let (made, texts) = ((*made_ms).into(), [id, label, role, namespaces, hash].map(Value::from));
            let values: Vec<Value<'_>> = texts.into_iter().chain([made, ends]).collect();
            session.execute(sql, &values).map(drop)
        })
    }

    /// A token by its id.
    pub fn token(&self, id: &str) -> Result<Option<TokenRow>> {
        let sql = "SELECT id, label, role, namespaces, hash, made_ms, expires_ms, revoked_ms
                   FROM access_tokens WHERE id = ?1";
        self.read(|session| session.first(sql, &[id.into()])?.map(|mut row| token_row(&mut row)).transpose())
    }

    /// Every token, in the order in which they were made.
    pub fn tokens(&self) -> Result<Vec<TokenRow>> {
        let sql = "SELECT id, label, role, namespaces, hash, made_ms, expires_ms, revoked_ms
                   FROM access_tokens ORDER BY made_ms, id";
        self.read(|session| session.query(sql, &[])?.iter_mut().map(token_row).collect())
    }

    /// Whether a token was ever made.
    pub fn any_token(&self) -> Result<bool> {
        let sql = "SELECT id FROM access_tokens LIMIT 1";
        self.read(|session| Ok(session.first(sql, &[])?.is_some()))
    }

    /// Revokes a token; `false` if there is none, or it is revoked already.
    pub fn revoke_token(&self, id: &str, now_ms: i64) -> Result<bool> {
        let sql = "UPDATE access_tokens SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms IS NULL";
        self.transact(|session| Ok(session.execute(sql, &[id.into(), now_ms.into()])? == 1))
    }

    /// The key that signs sessions: the one that is kept, or `fresh`, which is kept from then on.
    pub fn session_key(&self, fresh: &str) -> Result<String> {
        let insert = "INSERT INTO access_key (one, secret) VALUES (1, ?1) ON CONFLICT DO NOTHING";
        self.transaction(|session| {
            session.execute(insert, &[fresh.into()])?;
            let kept = session.first("SELECT secret FROM access_key", &[])?;
            kept.ok_or_else(|| Error::new(Kind::Corrupt, "the key that signs sessions"))?.text(0)
        })
    }
}
