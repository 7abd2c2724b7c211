//! The keys of an OpenID Connect issuer, over HTTP.
//!
//! The key set's address is the settings', or what the issuer's own description says
//! (`/.well-known/openid-configuration`, OpenID Connect Discovery 1.0). Without TLS only on this machine: who can change
//! the keys on their way is whoever he likes.

use std::time::Duration;

use laked_catalog::access::{Issuer, KeySource, Oidc};
use laked_catalog::system::System;
use serde::Deserialize;
use ureq::Agent;

use crate::config;
use crate::error::{Error, Kind, Result};

/// An issuer's answer takes this long at most, and has this many bytes.
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER: u64 = 1 << 20;

/// The issuer of the settings; `None` if they name none.
///
/// # Errors
/// `Invalid` for settings that contradict themselves.
pub fn of(settings: &config::Oidc, system: &System) -> Result<Option<Oidc>> {
    if settings.issuer.is_empty() {
        return Ok(None);
    }
    if settings.audience.is_empty() {
        let message =
            "oidc.audience is missing: without it every token of the issuer would be believed, whoever it is for";
        return Err(Error::new(Kind::Invalid, message));
    }
    [&settings.issuer, &settings.keys].into_iter().filter(|url| !url.is_empty()).try_for_each(|url| is_safe(url))?;
    let config = Agent::config_builder().timeout_global(Some(PATIENCE)).max_redirects(0);
    let source = Keys { agent: config.build().into(), issuer: settings.issuer.clone(), keys: settings.keys.clone() };
    let issuer = Issuer {
        issuer: settings.issuer.clone(),
        audience: settings.audience.clone(),
        role_claim: settings.role_claim.clone(),
        namespaces_claim: settings.namespaces_claim.clone(),
    };
    Ok(Some(Oidc::new(issuer, std::sync::Arc::new(source), system.clone())))
}

/// Holds a URL to be https, or on this machine.
fn is_safe(url: &str) -> Result<()> {
    let wrong = |why: &str| Err(Error::new(Kind::Invalid, format!("oidc: {why}")).with("url", url));
    if url.starts_with("https://") {
        return Ok(());
    }
    let Some(rest) = url.strip_prefix("http://") else { return wrong("not a URL") };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let here = name == "localhost" || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    if here { Ok(()) } else { wrong("an issuer beyond this machine is asked by https alone") }
}

#[derive(Debug)]
struct Keys {
    agent: Agent,
    issuer: String,
    /// The key set's address; empty to ask the issuer.
    keys: String,
}

#[derive(Deserialize)]
struct Description {
    issuer: String,
    jwks_uri: String,
}

impl Keys {
    fn get(&self, url: &str) -> Result<Vec<u8>> {
        let failed = |error: ureq::Error| {
            Error::new(Kind::Unavailable, "the issuer does not answer").with("url", url).because(error)
        };
        let mut response = self.agent.get(url).call().map_err(failed)?;
        response.body_mut().with_config().limit(ANSWER).read_to_vec().map_err(failed)
    }
}

impl KeySource for Keys {
    fn fetch(&self) -> Result<Vec<u8>> {
        if !self.keys.is_empty() {
            return self.get(&self.keys);
        }
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let description: Description = serde_json::from_slice(&self.get(&url)?).map_err(|error| {
            Error::new(Kind::Unavailable, "the issuer does not describe itself").with("url", &url).because(error)
        })?;
        if description.issuer != self.issuer {
            let message = "the issuer calls itself otherwise: set oidc.issuer to just what it says";
            return Err(Error::new(Kind::Unavailable, message).with("issuer", description.issuer));
        }
        is_safe(&description.jwks_uri)?;
        self.get(&description.jwks_uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_by_https_or_from_this_machine() {
        for url in ["https://issuer.example/x", "http://127.0.0.1:8080/x", "http://localhost/x"] {
            assert!(is_safe(url).is_ok(), "{url}");
        }
        for url in ["http://issuer.example", "http://localhost.evil.example/", "http://127.0.0.1@evil.example/", "x"] {
            assert!(is_safe(url).is_err(), "{url}");
        }
    }
}
