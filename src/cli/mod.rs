//! One file for each command of `lakectl`.

pub mod demo;
pub mod sample;
