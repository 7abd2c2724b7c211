//! Planning a scan: which files of a snapshot can hold rows that satisfy a condition, and what deletes apply to them.
//!
//! The one place that prunes: the REST catalog plans for its clients with it ([`Scan`], page by page), and the daemon's
//! own reading plans with it ([`plan()`], at once). What is known of rows is always a [`View`]: of a manifest by its
//! partition summaries, of a file by its partition value and then by its column bounds, of a row group by whoever
//! reads footers. A condition is a [`Predicate`] over field ids; [`Filter`] is one that came as the protocol's JSON and
//! can be given back, less what a file's partition decides already.
//!
//! Pruning is one-sided: what is left out holds no matching row, whatever statistics are missing, truncated, null or
//! NaN; what stays may hold none. `tests.rs` holds that against rows evaluated one by one.

mod content;
mod deletes;
mod filter;
mod incremental;
mod literal;
mod pages;
mod predicate;
mod prune;
mod snapshot;
mod spec;
#[cfg(test)]
mod tests;
mod value;

pub use filter::Filter;
pub use pages::{Limits, Page, Position, Request, Scan};
pub use predicate::{Op, Predicate, Term};
pub use prune::{View, may_match};
pub use snapshot::{FileRef, NamedFile, Plan, PlannedFile, manifests, named, plan, read_schema};
pub use value::Value;

#[cfg(test)]
pub(crate) use snapshot::manifests as manifests_of;
