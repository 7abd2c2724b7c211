//! What tokens and sessions look like, and how they are told from forged ones. Pure but for randomness.
//!
//! - A **token** is `laked_ID_SECRET`: 16 hex digits that name it and are no secret, and 64 that are 256 random bits.
//!   Kept is only the SHA-256 of the secret. A slow hash (argon2, bcrypt) protects passwords that can be guessed; nobody
//!   guesses 256 random bits, and a slow hash on each request would cost more than the request.
//! - A **session** is `lakes_ID_EXPIRY_MAC`: which token logged in, until when (milliseconds since 1970), and HMAC-SHA256
//!   over both under a key that the catalog's database keeps, so that it outlives a restart and holds for all daemons of
//!   one database. It says nothing of roles: the token is looked up each time, so that revoking it ends its sessions.
//!
//! Neither holds a colon (clients write `credential` as `id:secret`) or a dot (the Java client takes three parts for a
//! JWT). Compares take the same time wherever the first difference is.

use std::fmt;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{Error, Kind, Result};

const TOKEN: &str = "laked_";
const SESSION: &str = "lakes_";
const ID: usize = 16;
const SECRET: usize = 64;

/// A secret's text. It is never printed by `{:?}`, and there is no `Display`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Text that is not to be shown.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself: to be sent, or shown once to whom it is made for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// So many random bytes of the operating system, in hex.
///
/// # Errors
/// `Unavailable` if it gives none.
pub fn random_hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    SystemRandom::new()
        .fill(&mut buffer)
        .map_err(|_| Error::new(Kind::Unavailable, "the operating system gives no random bytes"))?;
    Ok(hex(&buffer))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a bearer's text is, before anything about it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer<'a> {
    /// A token's id and secret.
    Token { id: &'a str, secret: &'a str },
    /// A session: the token's id, the end, the signature.
    Session { id: &'a str, expires_ms: i64, signed: &'a str, mac: &'a str },
    /// Neither.
    Other,
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Reads a bearer's text.
pub fn read(text: &str) -> Bearer<'_> {
    let token = || {
        let (id, secret) = text.strip_prefix(TOKEN)?.split_once('_')?;
        (is_hex(id, ID) && is_hex(secret, SECRET)).then_some(Bearer::Token { id, secret })
    };
    let session = || {
        let (signed, mac) = text.rsplit_once('_')?;
        let (id, expires) = signed.strip_prefix(SESSION)?.split_once('_')?;
        let expires_ms = expires.parse().ok()?;
        (is_hex(id, ID) && is_hex(mac, SECRET)).then_some(Bearer::Session { id, expires_ms, signed, mac })
    };
    token().or_else(session).unwrap_or(Bearer::Other)
}

/// A new token: its id, its text, and the hash to keep.
///
/// # Errors
/// As [`random_hex`].
pub fn mint() -> Result<(String, Secret, String)> {
    let (id, secret) = (random_hex(ID / 2)?, random_hex(SECRET / 2)?);
    let hash = hash_of(&secret);
    Ok((id.clone(), Secret(format!("{TOKEN}{id}_{secret}")), hash))
}

/// What is kept of a secret.
pub fn hash_of(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Whether a secret is the one whose hash is kept.
pub fn fits(secret: &str, kept: &str) -> bool {
    hash_of(secret).as_bytes().ct_eq(kept.as_bytes()).into()
}

/// A session of a token until a moment.
pub fn session(key: &str, id: &str, expires_ms: i64) -> Secret {
    let signed = format!("{SESSION}{id}_{expires_ms}");
    let mac = hex(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), signed.as_bytes()).as_ref());
    Secret(format!("{signed}_{mac}"))
}

/// Whether we signed it.
pub fn is_signed(key: &str, signed: &str, mac: &str) -> bool {
    let own = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), signed.as_bytes());
    hex(own.as_ref()).as_bytes().ct_eq(mac.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_fits_its_hash_alone() {
        let (id, text, hash) = mint().expect("random bytes");
        let Bearer::Token { id: read_id, secret } = read(text.reveal()) else { panic!("not a token") };
        assert_eq!(read_id, id);
        assert!(fits(secret, &hash) && !fits(&"0".repeat(SECRET), &hash) && !fits("", &hash));
        assert!(!format!("{text:?}").contains(secret) && !hash.contains(secret));
        assert_ne!(mint().expect("random bytes").0, id);
        assert!(!text.reveal().contains([':', '.']));
    }

    #[test]
    fn a_session_holds_for_its_token_its_end_and_its_key() {
        let text = session("key", "0123456789abcdef", 1234);
        let Bearer::Session { id, expires_ms, signed, mac } = read(text.reveal()) else { panic!("not a session") };
        assert_eq!((id, expires_ms), ("0123456789abcdef", 1234));
        assert!(is_signed("key", signed, mac));
        assert!(!is_signed("other", signed, mac));
        assert!(!is_signed("key", &signed.replace("1234", "9999"), mac));
        assert!(!is_signed("key", signed, ""));
    }

    #[test]
    fn anything_else_is_neither() {
        let zeros = "0".repeat(SECRET);
        for text in ["", "None", "laked_", "laked_x_y", "lakes_0123456789abcdef_soon_x", "eyJ.a.b"] {
            assert_eq!(read(text), Bearer::Other, "{text}");
        }
        assert_eq!(read(&format!("laked_0123456789abcdeF_{zeros}")), Bearer::Other);
        assert_eq!(read(&format!("laked_0123456789abcdef_{zeros}0")), Bearer::Other);
    }
}
