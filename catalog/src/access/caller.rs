//! Who calls: a name, a role, a scope.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;
use iceberg::NamespaceIdent;

use crate::error::{Error, Kind, Result};

/// What somebody may do; each may what those before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads the catalog's tables and views.
    Reader,
    /// Writes, commits, makes and drops tables, views and namespaces.
    Writer,
    /// Everything: tokens, status, metrics.
    Admin,
}

impl Role {
    /// Its name, as it is written and kept.
    pub fn name(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Writer => "writer",
            Role::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Role::Reader, Role::Writer, Role::Admin]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| Error::new(Kind::Invalid, "a role is reader, writer or admin").with("found", text))
    }
}

/// Where somebody may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    All,
    /// In these namespaces and all below them.
    Within(Vec<NamespaceIdent>),
}

impl Scope {
    /// The scope of these namespaces; none means all of them.
    pub fn of(namespaces: Vec<NamespaceIdent>) -> Scope {
        if namespaces.is_empty() { Scope::All } else { Scope::Within(namespaces) }
    }

    fn covers(&self, namespace: &[String]) -> bool {
        match self {
            Scope::All => true,
            Scope::Within(roots) => roots.iter().any(|root| namespace.starts_with(root.as_ref())),
        }
    }

    /// Whether it covers a namespace whose levels are joined by dots.
    fn covers_dotted(&self, text: &str) -> bool {
        let below = |root: &NamespaceIdent| {
            let rest = text.strip_prefix(root.join(".").as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        match self {
            Scope::All => true,
            Scope::Within(roots) => roots.iter().any(below),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::All => f.write_str("all namespaces"),
            Scope::Within(roots) => {
                let names: Vec<String> = roots.iter().map(|root| root.join(".")).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For the audit log: a token's id, a subject; never a secret.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// Where.
    pub scope: Scope,
}

impl Caller {
    /// Whoever calls while nothing is checked.
    pub fn anyone() -> Caller {
        Caller { name: "anyone".to_string(), role: Role::Admin, scope: Scope::All }
    }

    /// Holds him to a role, wherever.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn has(&self, role: Role) -> Result<()> {
        if self.role >= role {
            return Ok(());
        }
        let message = format!("this needs the role {}: ask for such a token", role.name());
        Err(Error::new(Kind::Forbidden, message).with("caller", &self.name).with("role", self.role.name()))
    }

    /// Holds him to a role in a namespace.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn may(&self, role: Role, namespace: &NamespaceIdent) -> Result<()> {
        self.has(role)?;
        if self.scope.covers(namespace.as_ref()) { Ok(()) } else { Err(self.outside(&namespace.join("."))) }
    }

    /// The same for a namespace whose levels are joined by dots.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn may_dotted(&self, role: Role, namespace: &str) -> Result<()> {
        self.has(role)?;
        if self.scope.covers_dotted(namespace) { Ok(()) } else { Err(self.outside(namespace)) }
    }

    /// Holds him to a role everywhere.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn may_all(&self, role: Role) -> Result<()> {
        self.has(role)?;
        match self.scope {
            Scope::All => Ok(()),
            Scope::Within(_) => Err(self.outside("all of them")),
        }
    }

    /// Whether he gets to see that a namespace is there: it is in his scope, or above it.
    pub fn sees(&self, namespace: &NamespaceIdent) -> bool {
        let above = |roots: &[NamespaceIdent]| roots.iter().any(|root| root.as_ref().starts_with(namespace.as_ref()));
        match &self.scope {
            Scope::All => true,
            Scope::Within(roots) => self.scope.covers(namespace.as_ref()) || above(roots),
        }
    }

    fn outside(&self, namespace: &str) -> Error {
        Error::new(Kind::Forbidden, "this is outside the token's namespaces: ask for a token that has them")
            .with("caller", &self.name)
            .with("asked", namespace)
            .with("allowed", &self.scope)
    }
}

/// The caller that the gate has found. A router without a gate before it is open to everybody, as its owner wants it.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Caller>().cloned().unwrap_or_else(Caller::anyone))
    }
}
