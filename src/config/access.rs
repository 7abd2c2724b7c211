//! Settings of who may call, and how they are met.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

/// Who may call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gatekeeping {
    /// When tokens are asked for.
    pub tokens: TokensAsked,
    /// Whether it may listen beyond this machine without TLS.
    pub insecure: bool,
    /// Where tables and views may lie besides the warehouse.
    pub locations: Locations,
}

/// Folders as locations (`file:///data/lake`): a list, or a text with commas between.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Locations(pub Vec<String>);

impl<'de> Deserialize<'de> for Locations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "locations are a list, or a text with commas between")]
        enum Form {
            Text(String),
            List(Vec<String>),
        }
        Ok(Locations(match Form::deserialize(deserializer)? {
            Form::Text(text) => text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect(),
            Form::List(list) => list,
        }))
    }
}

/// When tokens are asked for. Beyond this machine they always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokensAsked {
    /// As soon as one was ever made.
    #[default]
    Auto,
    /// From the start.
    Always,
}

/// TLS. Both files, or neither.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// A file with the certificate and those between it and its authority, PEM.
    pub certificate: PathBuf,
    /// A file with its private key, PEM.
    pub key: PathBuf,
}

/// An OpenID Connect issuer whose tokens are believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Oidc {
    /// Its URL, just as its tokens say it; empty for none.
    pub issuer: String,
    /// What its tokens for laked have as `aud`.
    pub audience: String,
    /// Where its keys are; empty to ask the issuer.
    pub keys: String,
    /// The claim with the role.
    pub role_claim: String,
    /// The claim with the namespaces.
    pub namespaces_claim: String,
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            keys: String::new(),
            role_claim: "laked_role".into(),
            namespaces_claim: "laked_namespaces".into(),
        }
    }
}
