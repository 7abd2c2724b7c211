//! What the scenarios share.

pub mod daemon;
pub mod wire;
