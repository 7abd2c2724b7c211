//! Erasing rows for good: for people who ask to be forgotten.
//!
//! Here is what an erase knows; what it does, in which order, is `daemon::erasing`'s. A [`Condition`] says which rows;
//! [`Survey`] finds them, and all that remembers them, in every kept snapshot of a table, or, as [`Sought::Texts`], in the
//! texts of refused records; [`Certificate`] says what was removed and what still holds it.
//!
//! # Why nothing is planned ahead
//! An erase has no plan that is carried out: after each step it looks again, and ends when a look finds nothing. So it
//! does not matter where an earlier run died, or what others commit meanwhile.

mod bounds;
mod certificate;
mod condition;
mod sought;
mod survey;
mod texts;

use serde::{Deserialize, Serialize};

pub use certificate::{Certificate, Contracted, Held, Removed};
pub use condition::Condition;
pub use sought::Sought;
pub use survey::{Findings, Survey};
pub use texts::{Finding, finding};

/// The field of a snapshot's summary that names the erase it belongs to.
pub const ERASE: &str = "laked.erase";
/// How many live rows it took out.
pub const ERASED_ROWS: &str = "laked.erase-rows";

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request {
    /// Which rows, as SQL.
    pub condition: String,
    /// Branches and tags that show such rows are dropped.
    #[serde(default)]
    pub drop_refs: bool,
    /// Files in `failed/` that have such records are removed, whatever else they have: no table holds the rest.
    #[serde(default)]
    pub remove_failed: bool,
    /// Refused records go too of which it cannot be told.
    #[serde(default)]
    pub remove_undecided: bool,
    /// How long files stay after their snapshots are gone, for readers that have begun.
    #[serde(default)]
    pub grace_ms: i64,
    /// Count only.
    #[serde(default)]
    pub dry_run: bool,
}
