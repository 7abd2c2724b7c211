//! Settings: a file, the environment and flags, resolved once into one struct.
//!
//! Flags win over the environment (`LAKED_` and the setting's path in capitals, as `LAKED_COMMIT_AGE`), the
//! environment over the file (`--config`), the file over the defaults. An unknown setting is refused, and the message
//! says where it stands. `deploy/laked.toml` documents every one; a test holds the two together.

mod access;
mod maintenance;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use access::{Gatekeeping, Locations, Oidc, Tls, TokensAsked};
pub use maintenance::{Maintenance, Whose};
pub use units::{Age, Size};

use crate::error::{Error, Kind, Result};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The lake's folder.
    pub lake: PathBuf,
    /// Where the one listener listens.
    pub listen: SocketAddr,
    /// A folder of contracts; empty for the shipped ones.
    pub schemas: PathBuf,
    /// Memory for decoding, open partitions and sorting.
    pub memory: Size,
    /// The catalog.
    pub catalog: Catalog,
    /// Commits.
    pub commit: Commit,
    /// The HTTP door.
    pub http: Http,
    /// The spool.
    pub spool: Spool,
    /// The inbox.
    pub inbox: Inbox,
    /// What is done to tables by itself.
    pub maintenance: Maintenance,
    /// The log.
    pub log: Log,
    /// The metrics.
    pub metrics: Metrics,
    /// Who may call.
    pub access: Gatekeeping,
    /// TLS.
    pub tls: Tls,
    /// An OpenID Connect issuer.
    pub oidc: Oidc,
}

/// The catalog.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Catalog {
    /// Its database: `sqlite:PATH` or `postgres://…`; empty for `catalog.db` in the lake's folder.
    pub database: String,
}

/// When rows are committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Commit {
    /// Rows wait no longer than this for their commit.
    pub age: Age,
    /// Where sealing and syncing takes longer than the age, the age stretches up to this.
    pub age_most: Age,
    /// Rows of this many bytes (in memory) are committed without waiting.
    pub size: Size,
}

/// The HTTP door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// The largest body, as sent.
    pub body_most: Size,
    /// The largest body, unpacked.
    pub unpacked_most: Size,
    /// A sender that sends nothing for this long is cut off.
    pub idle: Age,
    /// `?wait=committed` waits this long at most.
    pub wait_most: Age,
    /// The head of a request must come within this; a connection without a request is closed after it.
    pub head_most: Age,
    /// A catalog request, its body and its answer take this long at most.
    pub request_most: Age,
    /// Connections at a time.
    pub connections: usize,
}

/// The spool of each table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// A segment is closed at this size.
    pub segment: Size,
    /// Bytes that wait for their commit, at most; beyond, senders get 429.
    pub backlog: Size,
    /// Idempotency keys that are remembered, at most.
    pub keys: usize,
    /// How long they are remembered.
    pub keys_kept: Age,
}

/// The inbox of each table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inbox {
    /// A file is whole when its size has rested this long.
    pub settle: Age,
    /// Whether the same bytes, dropped again within 30 days, are ingested once.
    pub once: bool,
    /// How long finished files are kept.
    pub kept: Age,
}

/// The log, on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Text or JSON lines.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, or a filter as `info,laked::commit=debug`.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Who may read `/metrics`.
    pub access: Access,
}

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// This machine.
    Loopback,
    /// Everybody who reaches the listener.
    Any,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lake: "lake".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8181)),
            schemas: PathBuf::new(),
            memory: Size::mib(256),
            catalog: Catalog::default(),
            commit: Commit::default(),
            http: Http::default(),
            spool: Spool::default(),
            inbox: Inbox::default(),
            maintenance: Maintenance::default(),
            log: Log::default(),
            metrics: Metrics::default(),
            access: Gatekeeping::default(),
            tls: Tls::default(),
            oidc: Oidc::default(),
        }
    }
}

impl Default for Commit {
    fn default() -> Self {
        Self { age: Age::seconds(5), age_most: Age::seconds(60), size: Size::mib(128) }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            body_most: Size::mib(256),
            unpacked_most: Size::mib(4096),
            idle: Age::seconds(30),
            wait_most: Age::seconds(60),
            head_most: Age::seconds(60),
            request_most: Age::seconds(120),
            connections: 4096,
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self { segment: Size::mib(64), backlog: Size::mib(4096), keys: 1_000_000, keys_kept: Age::seconds(24 * 3600) }
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self { settle: Age::seconds(1), once: true, kept: Age::seconds(7 * 24 * 3600) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { access: Access::Loopback }
    }
}

/// Where settings come from besides the defaults.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// The file's path and text.
    pub file: Option<(&'a str, &'a str)>,
    /// `(name, value)` of the environment.
    pub environment: Vec<(String, String)>,
    /// `(path, value)` of flags, as `("commit.age", "1s")`.
    pub flags: Vec<(&'static str, String)>,
}

const PREFIX: &str = "LAKED_";

/// Resolves the settings.
pub fn resolve(sources: &Sources<'_>) -> Result<Settings> {
    let mut table = match sources.file {
        None => toml::Table::new(),
        Some((path, text)) => {
            let invalid = |e: toml::de::Error| {
                let line = e.span().map_or(1, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
                Error::new(Kind::Invalid, format!("{path}:{line}: {}", e.message()))
            };
            toml::from_str::<Settings>(text).map_err(invalid)?;
            text.parse().map_err(invalid)?
        }
    };
    let known = known();
    for (name, value) in sources.environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let path = known
            .iter()
            .find(|path| **name == variable(path))
            .ok_or_else(|| Error::new(Kind::Invalid, format!("{name} is no setting; deploy/laked.toml lists them")))?;
        overlay(&mut table, path, value, name)?;
    }
    for (path, value) in &sources.flags {
        overlay(&mut table, path, value, &format!("--{}", path.replace('.', "-")))?;
    }
    Settings::deserialize(table).map_err(|e| Error::new(Kind::Invalid, format!("settings: {}", e.message())))
}

/// The variable of a setting's path.
fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "_").to_uppercase())
}

/// Every setting's path, as `commit.age`.
pub fn known() -> Vec<String> {
    let defaults = toml::Table::try_from(Settings::default()).unwrap_or_default();
    let mut paths = Vec::new();
    flatten(&defaults, "", &mut paths);
    paths
}

fn flatten(table: &toml::Table, prefix: &str, paths: &mut Vec<String>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => flatten(inner, &format!("{prefix}{key}."), paths),
            _ => paths.push(format!("{prefix}{key}")),
        }
    }
}

/// Sets one value given as text, and tries at once whether it can be read, so that the message names its source.
fn overlay(table: &mut toml::Table, path: &str, text: &str, source: &str) -> Result<()> {
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    let candidates =
        [text.parse::<i64>().ok().map(toml::Value::from), text.parse::<bool>().ok().map(toml::Value::from)];
    let candidates = candidates.into_iter().flatten().chain([toml::Value::from(text)]);
    let mut refused = String::new();
    for value in candidates {
        let mut trial = table.clone();
        let at = if section.is_empty() {
            &mut trial
        } else {
            match trial.entry(section).or_insert_with(|| toml::Table::new().into()) {
                toml::Value::Table(inner) => inner,
                _ => return Err(Error::new(Kind::Invalid, format!("{source}: {section} is no section"))),
            }
        };
        at.insert(key.to_owned(), value);
        match Settings::deserialize(trial.clone()) {
            Ok(_) => {
                *table = trial;
                return Ok(());
            }
            Err(e) => refused = e.message().to_owned(),
        }
    }
    Err(Error::new(Kind::Invalid, format!("{source}={text}: {refused}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn flags_win_over_environment_over_file() {
        let file = "[commit]\nage = \"1s\"\nsize = \"1MiB\"\n[spool]\nkeys = 5\n";
        let sources = Sources {
            file: Some(("laked.toml", file)),
            environment: vec![
                ("LAKED_COMMIT_AGE".into(), "2s".into()),
                ("LAKED_SPOOL_KEYS".into(), "7".into()),
                ("LAKED_INBOX_ONCE".into(), "false".into()),
                ("HOME".into(), "/".into()),
            ],
            flags: vec![("commit.age", "3s".into()), ("lake", "/l".into())],
        };
        let settings = resolve(&sources).unwrap();
        assert_eq!(settings.commit.age.get(), Duration::from_secs(3));
        assert_eq!(settings.commit.size.bytes(), 1 << 20);
        assert_eq!((settings.spool.keys, settings.inbox.once), (7, false));
        assert_eq!(settings.lake, PathBuf::from("/l"));
    }

    #[test]
    fn what_is_unknown_or_unreadable_is_refused_with_its_place() {
        let refused = |sources: Sources<'_>| resolve(&sources).unwrap_err().to_string();
        let file = Sources { file: Some(("x.toml", "lake = \"l\"\n[commit]\nagge = \"1s\"\n")), ..Sources::default() };
        let message = refused(file);
        assert!(message.starts_with("x.toml:3: ") && message.contains("agge"), "{message}");
        let variable =
            |name: &str, value: &str| Sources { environment: vec![(name.into(), value.into())], ..Sources::default() };
        assert!(refused(variable("LAKED_COMIT_AGE", "1s")).contains("LAKED_COMIT_AGE"));
        let message = refused(variable("LAKED_COMMIT_AGE", "soon"));
        assert!(message.contains("LAKED_COMMIT_AGE=soon"), "{message}");
    }

    #[test]
    fn the_reference_file_has_every_setting_with_its_default() {
        let text = include_str!("../../deploy/laked.toml");
        let settings = resolve(&Sources { file: Some(("deploy/laked.toml", text)), ..Sources::default() }).unwrap();
        assert_eq!(settings, Settings::default());
        let mut documented = Vec::new();
        flatten(&text.parse().unwrap(), "", &mut documented);
        let (mut documented, mut known) = (documented, known());
        documented.sort();
        known.sort();
        assert_eq!(documented, known);
    }
}
