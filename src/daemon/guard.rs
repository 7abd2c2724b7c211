//! What a foreign writer may not do: move the lanes' marks, break a contract, overwrite partitions and leave their older rows.

use std::sync::Arc;

use laked_catalog::store::Store;
use laked_catalog::{Guard, Origin, Proposal};

use super::force::Force;
use crate::commit::guard_marks;
use crate::contract::{Judgement, judge_successor};
use crate::error::Result;
use crate::maintain::overwrites::guard_overwrites;

/// The daemon's rules for commits that come through the catalog.
#[derive(Debug)]
pub struct Rules {
    /// Where the tables' files are.
    pub store: Store,
    /// The contracts in force.
    pub force: Arc<Force>,
}

impl Guard for Rules {
    fn check(&self, proposal: &Proposal<'_>) -> Result<()> {
        if proposal.origin == Origin::Daemon {
            return Ok(());
        }
        guard_marks(proposal.before, proposal.after)?;
        guard_overwrites(&self.store, proposal.before, proposal.after)?;
        let known = self.force.of(&proposal.ident.to_string()).map(|in_force| in_force.contract());
        match judge_successor(proposal.ident, known.as_deref(), proposal.before, proposal.after) {
            Judgement::Pass => Ok(()),
            Judgement::Refuse(error) => Err(error),
            Judgement::Warn(warning) => {
                tracing::warn!(table = %proposal.ident, warning, "a commit breaks the contract");
                Ok(())
            }
        }
    }
}
