//! What the scenarios share.

pub mod daemon;
