//! One file for each command of `lakectl`.

pub mod sample;
