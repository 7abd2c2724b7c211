//! The doors: where records arrive, are decoded under the contract, and become durable in order.
//!
//! A door's only job is that. [`spool`] keeps pushed batches (HTTP, standard input); a file dropped into the
//! [`inbox`] is its own spool entry. From there one path leads to the table, and the daemon's pipeline walks it.

pub mod decode;
pub mod durable;
pub mod entry;
pub mod epoch;
pub mod http;
pub mod inbox;
pub mod push;
pub mod quarantine;
pub mod spool;
