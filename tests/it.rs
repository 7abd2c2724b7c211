//! The one integration binary: a list of its modules.

mod access;
mod contracts;
mod doors;
mod faults;
mod inbox;
mod kill;
#[allow(dead_code, reason = "each scenario uses its part of the kit")]
mod kit;
mod maintain;
mod planning;
mod read;
mod readers;
mod rules;
mod state;
