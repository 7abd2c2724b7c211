//! Picks of snapshots, their files written down among the committer's intents.

use iceberg::TableIdent;
use laked_catalog::Catalog;
use uuid::Uuid;

use crate::commit::{COMMIT_ID, Committer, Intent, IntentTable};
use crate::error::Result;
use crate::maintain::cherry_pick::{Announced, Journal, Report, Request, cherry_pick};

/// Picks a snapshot, so that a death at any moment leaves none of its files behind.
///
/// # Errors
/// Those of [`cherry_pick`].
pub fn pick(catalog: &Catalog, committer: &Committer, ident: &TableIdent, request: &Request) -> Result<Report> {
    cherry_pick(catalog, ident, request, &Written(committer))
}

struct Written<'a>(&'a Committer);

impl Journal for Written<'_> {
    fn begin(&self, announced: Announced) -> Result<Vec<(String, String)>> {
        let Announced { run, ident, table, parent, snapshot, files } = announced;
        let mut name: Vec<String> = ident.namespace().iter().cloned().collect();
        name.push(ident.name().to_string());
        let tables = vec![IntentTable { name, uuid: table, parent, snapshot }];
        self.0.announce(Intent { commit: run, tables, files })?;
        Ok(vec![(COMMIT_ID.to_string(), run.to_string())])
    }

    fn end(&self, run: Uuid) {
        self.0.settle(run);
    }
}
