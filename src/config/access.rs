//! Settings of who may call, and how they are met.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Who may call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gatekeeping {
    /// When tokens are asked for.
    pub tokens: TokensAsked,
    /// Whether it may listen beyond this machine without TLS.
    pub insecure: bool,
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
