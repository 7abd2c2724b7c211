//! `lakectl health`: whether the daemon is well, for supervisors. It needs no token.

use clap::Args;
use serde_json::Value;

use super::{Output, output};
use crate::error::{Error, Kind, Result};
use crate::read::Source;

/// Whether the daemon is well.
#[derive(Args, Debug)]
pub struct Health {}

impl Health {
    /// Prints its state; fails if it is not ready.
    ///
    /// # Errors
    /// `Unavailable` if it does not answer or is not ready; `Invalid` with `--lake`.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let Source::Daemon(remote) = source else {
            return Err(Error::new(Kind::Invalid, "health is a running daemon's: give --url, or use lakectl doctor"));
        };
        let health: Value = remote.get("/health")?;
        match form {
            Output::Json => output::json(&health),
            Output::Text => output::line(health["status"].as_str().unwrap_or("unknown")),
        }
    }
}
