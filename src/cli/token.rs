//! `lakectl token create|list|revoke`: who may do what.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use iceberg::NamespaceIdent;
use laked_catalog::access::{NewToken, Role, Secret, TokenInfo};
use serde::Deserialize;
use serde_json::json;

use super::{Output, output};
use crate::config::Age;
use crate::error::{Error, Kind, Result};
use crate::read::Source;
use crate::read::source::{escape, open_catalog};

/// Tokens.
#[derive(Subcommand, Debug)]
pub enum Token {
    /// Make a token; it is shown once, and only here.
    #[command(
        after_help = "Examples:\n  lakectl token create --lake ./lake --role admin\n  lakectl token create --role writer --namespace glucose --expires 90d --label feeder"
    )]
    Create {
        /// What it may do.
        #[arg(long, value_enum)]
        role: RoleName,
        /// A namespace it is for, with all below it; can be given more than once. Without it: all.
        #[arg(long, value_name = "NAMESPACE")]
        namespace: Vec<String>,
        /// When it ends, as 12h or 90d. Without it: never.
        #[arg(long, value_name = "TIME")]
        expires: Option<Age>,
        /// What it is for.
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Every token that was made, without its secret.
    List,
    /// End a token, and what has logged in with it.
    Revoke {
        /// The token's id, as `token list` shows it.
        id: String,
    },
}

/// A role.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RoleName {
    /// Reads tables.
    Reader,
    /// Reads, sends records in, commits, makes and drops tables.
    Writer,
    /// Everything, and tokens, status and metrics.
    Admin,
}

#[derive(Deserialize)]
struct Made {
    token: String,
    info: TokenInfo,
}

#[derive(Deserialize)]
struct Listed {
    tokens: Vec<TokenInfo>,
}

impl Token {
    /// Does it, in a lake's own catalog or through a daemon.
    ///
    /// # Errors
    /// `Invalid`; `Forbidden` if the token of this call is no admin's; `NotFound`; database errors.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        match self {
            Token::Create { role, namespace, expires, label } => {
                let namespaces = namespace.iter().map(|name| namespace_of(name)).collect::<Result<_>>()?;
                let made =
                    create(source, NewToken { label, role: role.into(), namespaces, lasts: expires.map(Age::get) })?;
                show_made(&made, form)
            }
            Token::List => show_list(&list(source)?, form),
            Token::Revoke { id } => {
                match source {
                    Source::Lake(folder) => open_catalog(folder)?.tokens().revoke(&id)?,
                    Source::Daemon(remote) => remote.delete(&format!("/access/tokens/{}", escape(&id)))?,
                }
                if form == Output::Text {
                    eprintln!("token {id} is revoked");
                }
                Ok(())
            }
        }
    }
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Role {
        match name {
            RoleName::Reader => Role::Reader,
            RoleName::Writer => Role::Writer,
            RoleName::Admin => Role::Admin,
        }
    }
}

fn namespace_of(text: &str) -> Result<NamespaceIdent> {
    let levels: Vec<&str> = text.split('.').collect();
    if levels.iter().any(|level| level.is_empty()) {
        return Err(Error::new(Kind::Invalid, format!("'{text}' is no namespace: write its levels with dots between")));
    }
    NamespaceIdent::from_strs(levels).map_err(|error| Error::new(Kind::Invalid, "not a namespace").because(error))
}

fn create(source: &Source, new: NewToken) -> Result<Made> {
    match source {
        Source::Lake(folder) => {
            let (info, token) = open_catalog(folder)?.tokens().create(new)?;
            Ok(Made { token: token.reveal().to_owned(), info })
        }
        Source::Daemon(remote) => {
            let namespaces: Vec<Vec<String>> = new.namespaces.into_iter().map(NamespaceIdent::inner).collect();
            let lasts = new.lasts.map(|time: Duration| time.as_secs());
            let body = json!({
                "role": new.role.name(), "label": new.label, "namespaces": namespaces, "lasts_seconds": lasts,
            });
            remote.ask("/access/tokens", &body)
        }
    }
}

fn list(source: &Source) -> Result<Vec<TokenInfo>> {
    match source {
        Source::Lake(folder) => open_catalog(folder)?.tokens().list(),
        Source::Daemon(remote) => Ok(remote.get::<Listed>("/access/tokens")?.tokens),
    }
}

fn show_made(made: &Made, form: Output) -> Result<()> {
    let Made { token, info } = made;
    if form == Output::Json {
        return output::json(&json!({ "token": token, "info": info }));
    }
    // Standard output is the token alone: `lakectl token create … > file`.
    output::line(token)?;
    eprintln!("token {} for {}: keep it, it is not shown again", info.id, info.role);
    eprintln!("clients log in with it as bearer token, or with client id {} and the token as client secret", info.id);
    Ok(())
}

fn show_list(tokens: &[TokenInfo], form: Output) -> Result<()> {
    if form == Output::Json {
        return output::json(&tokens);
    }
    let time = |at: Option<i64>| at.map_or_else(|| "-".to_owned(), output::time);
    let row = |token: &TokenInfo| {
        let spaces: Vec<String> = token.namespaces.iter().map(|levels| levels.join(".")).collect();
        let spaces = if spaces.is_empty() { "all".to_owned() } else { spaces.join(", ") };
        let (made, ends, revoked) = (output::time(token.made_ms), time(token.expires_ms), time(token.revoked_ms));
        vec![token.id.clone(), token.role.clone(), spaces, made, ends, revoked, token.label.clone()]
    };
    let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
    output::table(&["id", "role", "namespaces", "made", "expires", "revoked", "label"], &rows)
}

/// The token of a call: of the file, else of the environment. It is no argument: those are seen by everybody.
///
/// # Errors
/// `Invalid` for an empty one; storage errors.
pub fn of_call(file: Option<&[u8]>, variable: Option<String>) -> Result<Option<Secret>> {
    let text = match file {
        Some(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        None => variable,
    };
    match text.as_deref().map(str::trim) {
        None => Ok(None),
        Some("") => Err(Error::new(Kind::Invalid, "the token is empty: see --token-file and LAKECTL_TOKEN")),
        Some(token) => Ok(Some(Secret::new(token))),
    }
}
