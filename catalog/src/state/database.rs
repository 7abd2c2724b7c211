//! Which database keeps the state: a URL, `sqlite:PATH` or `postgres://…`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Kind, Result};

/// Where the state lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// An SQLite file, made if missing: for one daemon.
    File(PathBuf),
    /// A PostgreSQL database: for several daemons.
    Postgres(PostgresUrl),
    /// SQLite in memory: for tests. The [`State`](super::State) handle survives a catalog that is opened anew over it.
    Memory,
}

/// A PostgreSQL connection URL. It may hold a password, so it is printed without one.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

impl PostgresUrl {
    /// The URL with its password: for connecting, never for a log.
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parameters after the question mark may hold a password too.
        let text = self.0.split('?').next().unwrap_or_default();
        let Some((scheme, rest)) = text.split_once("://") else { return f.write_str("postgres") };
        match rest.rsplit_once('@') {
            Some((user, host)) => {
                let user = user.split(':').next().unwrap_or_default();
                write!(f, "{scheme}://{user}@{host}")
            }
            None => f.write_str(text),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Database::File(path) => write!(f, "sqlite:{}", path.display()),
            Database::Postgres(url) => url.fmt(f),
            Database::Memory => f.write_str("memory"),
        }
    }
}

impl FromStr for Database {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Ok(Database::File(path.into()));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Database::Postgres(PostgresUrl(text.to_string())));
        }
        let message = "not a catalog's database: write it as sqlite:PATH or postgres://USER@HOST/DATABASE";
        Err(Error::new(Kind::Invalid, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_which_database_and_never_its_password() {
        assert_eq!("sqlite:/l/catalog.db".parse::<Database>().expect("a file"), Database::File("/l/catalog.db".into()));
        for text in ["postgres://u:s%40cret@h:5432/d?password=hidden", "postgresql://u:a@b@h/d?sslpassword=hidden"] {
            let database: Database = text.parse().expect("PostgreSQL");
            let shown = format!("{database} {database:?}");
            for secret in ["s%40cret", "hidden", "a@b"] {
                assert!(!shown.contains(secret), "{shown}");
            }
            assert!(shown.contains("//u@h"), "{shown}");
        }
        for text in ["", "sqlite:", "mysql://h/d", "/l/catalog.db"] {
            assert_eq!(text.parse::<Database>().expect_err(text).kind(), Kind::Invalid);
        }
    }
}
