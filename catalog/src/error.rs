//! The one error of this crate: a kind that tells the caller what to do, the operation, what it was about, the cause.
//!
//! Kinds are few on purpose. A caller branches on [`Kind`] and never on a message; a person reads the message, which
//! says what is wrong, where, and what to do next.

use std::fmt;

/// What the caller does about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request or the configuration is wrong: fix it; the same call fails again.
    Invalid,
    /// What was named does not exist.
    NotFound,
    /// What was to be made is there already.
    Exists,
    /// A rule or a role forbids it.
    Forbidden,
    /// Somebody else was faster: read the state again, rebase, try again.
    Conflict,
    /// Storage or a peer does not answer now: try again, a bounded number of times.
    Unavailable,
    /// It may or may not have taken effect: resolve before anything else is done.
    Unknown,
    /// What is stored contradicts itself: halt this table, others go on.
    Corrupt,
    /// A bug of ours.
    Internal,
}

impl Kind {
    /// A stable word for logs, metrics and the runbook.
    pub fn slug(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::NotFound => "not-found",
            Kind::Exists => "exists",
            Kind::Forbidden => "forbidden",
            Kind::Conflict => "conflict",
            Kind::Unavailable => "unavailable",
            Kind::Unknown => "unknown",
            Kind::Corrupt => "corrupt",
            Kind::Internal => "internal",
        }
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error value: `kind`, a message, `key: value` context, and the cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    context: Vec<(&'static str, String)>,
    cause: Option<Cause>,
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `message` says what is wrong and, where it can be said, what to do.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), context: Vec::new(), cause: None }
    }

    /// Adds where it happened: a path, a table, a line.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.context.push((key, value.to_string()));
        self
    }

    /// Keeps the cause, printed after the message.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// What the caller does about it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message alone, without context and cause.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut open = " (";
        for (key, value) in self.context.iter().filter(|(_, value)| !self.says(value)) {
            write!(f, "{open}{key}: {value}")?;
            open = ", ";
        }
        if open == ", " {
            f.write_str(")")?;
        }
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Storage errors: missing and existing are answers, the rest may pass.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            std::io::ErrorKind::AlreadyExists => Kind::Exists,
            std::io::ErrorKind::PermissionDenied => Kind::Forbidden,
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidFilename => Kind::Invalid,
            _ => Kind::Unavailable,
        };
        Error::new(kind, "storage").because(error)
    }
}

impl Error {
    /// Whether the message ends in this already: it is not said twice.
    fn says(&self, value: &str) -> bool {
        self.message.strip_suffix(value).is_some_and(|before| before.ends_with(": "))
    }

    /// Whether the context names such a thing: a table, a namespace.
    pub fn concerns(&self, key: &str) -> bool {
        self.context.iter().any(|(name, _)| *name == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_message_ends_in_is_not_said_twice() {
        let error = Error::new(Kind::NotFound, "Namespace does not exist: n").with("namespace", "n");
        assert!(error.concerns("namespace"));
        assert_eq!(error.to_string(), "Namespace does not exist: n");
        assert_eq!(
            error.with("lake", "/l").with("try", 2).to_string(),
            "Namespace does not exist: n (lake: /l, try: 2)"
        );
    }
}
