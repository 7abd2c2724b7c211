//! Reading what the stages wrote and what others did to it.

mod deletes;
mod explain;
mod lake;
mod schema;
mod sql;
