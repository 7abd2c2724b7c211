//! Keeping tables: what must be true of them ([`invariants`]).

pub mod invariants;
