//! Keeping tables: what must be true of them ([`invariants`]), and the plans that change them.
//!
//! A plan is a pure function of a table's metadata: what it would do, with figures, and the [`Edit`] that does it. Who
//! runs it (`lakectl`, a schedule) resolves the table, shows the plan, commits the edit, and plans anew on a conflict.

pub mod cherry_pick;
pub mod compact;
pub mod cron;
mod edit;
pub mod erase;
pub mod expire;
pub mod health;
#[cfg(test)]
pub mod histories;
pub mod invariants;
pub mod ledger;
pub mod manifests;
pub mod orphans;
pub mod overwrites;
pub mod partition;
pub mod policy;
pub mod reach;
pub mod refs;
pub mod retention;
pub mod ripe;
pub mod rollback;
pub mod schedule;
pub mod schema;

pub use edit::Edit;
