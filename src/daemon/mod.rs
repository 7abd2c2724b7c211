//! The daemon: a lake that is open, its pipeline, and the one listener. The only place that knows the stages' order.
//!
//! [`Lake`] holds what a lake consists of and runs a worker thread for each lane; it works in-process without a
//! listener, which is how `lakectl --lake` uses it. [`serve()`] puts HTTP before it.
//!
//! A lane that fails because something does not answer tries again from its mark, with a growing pause; one whose
//! state contradicts itself halts, alone, and `/health` says so. Nothing is kept between the tries but the mark, so a
//! retry, a restart and a crash are one code path.

pub mod clustering;
pub mod compaction;
mod contracts;
mod doors;
pub mod erasing;
mod exposure;
mod feed_files;
mod feed_parts;
mod feed_push;
mod fitted;
mod force;
mod guard;
mod issuer;
mod lake;
mod lane;
mod listen;
pub mod maintenance;
mod notify;
mod part;
mod pending;
pub mod picking;
mod progress;
mod serve;
mod tables;
#[cfg(test)]
mod tests;
mod tls;
mod upkeep;

pub use lake::{Lake, Source};
pub use lane::Lane;
pub use notify::ready;
pub use progress::{LaneState, LaneStatus, TableStatus};
pub use serve::{DaemonHandle, may_listen, rules, serve};
