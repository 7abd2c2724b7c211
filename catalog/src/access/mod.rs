//! Who may do what: tokens, roles, the one check in front of every route.
//!
//! - [`Rule`]s say what each route needs. The check denies by default: a route without a rule is refused to everybody.
//! - A **caller** is whom a request's bearer names: a token, a session that a token logged in to, or nobody. He has one
//!   of three roles (each may what the one before may) and a scope, some namespaces with all below them, or everything.
//! - Checks are **on** when the settings say so, or as soon as a token was ever made. Before that everybody is an
//!   administrator: that is for one person on one machine, and the daemon listens on loopback only. So that no web page
//!   can use such a person's browser against him, requests that come from a page or for another host's name are refused.
//!
//! Besides our own tokens, those of an OpenID Connect issuer are believed, if the settings name one ([`oidc`]).
//!
//! What a token looks like, and why it is hashed as it is, says [`secret`]. `v1/oauth/tokens` is in [`login`].

mod admin;
mod caller;
mod gate;
mod login;
mod oidc;
mod rules;
mod secret;
#[cfg(test)]
mod tests;
mod tokens;

pub use caller::{Caller, Role, Scope};
pub use gate::{Gate, Touched, guarded};
pub use oidc::{Issuer, KeySource, Oidc};
pub use rules::{Needs, RULES, Rule};
pub use secret::Secret;
pub use tokens::{NewToken, TokenInfo, Tokens};

pub(crate) use admin::router as admin_router;
pub(crate) use login::router as login_router;
