//! Reading what the stages wrote and what others did to it.

mod cli;
mod deletes;
mod explain;
mod lake;
mod schema;
mod sql;
