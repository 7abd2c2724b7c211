//! Tables as they were last read or written, within a bound of memory; those not asked for the longest go first.
//!
//! What a table takes is reckoned, not measured: of its text, kept and parsed, four times its length (snapshots with
//! their summaries), and for each column of each schema, with the four maps that find it, [`COLUMN`]. Against a counting
//! allocator that is right within a quarter, from five columns to a hundred and from none to thousands of snapshots.
//!
//! What is here may be old: a table is served only if its location is the pointer's, which is read each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use iceberg::TableIdent;
use iceberg::spec::SchemaRef;

use crate::table::Table;

/// Bytes, at most; more only for a single table that is larger.
const MOST: usize = 24 << 20;

/// What a column takes, in bytes.
const COLUMN: usize = 800;

/// What a table takes at least, in bytes.
const LEAST: usize = 4 << 10;

fn taken_by(table: &Table) -> usize {
    let columns = |schema: &SchemaRef| usize::try_from(schema.highest_field_id()).unwrap_or_default();
    let columns: usize = table.metadata.schemas_iter().map(columns).sum();
    LEAST + 4 * table.document.len() + COLUMN * columns
}

#[derive(Debug, Default)]
pub struct Cache {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    tables: HashMap<TableIdent, Entry>,
    bytes: usize,
    /// Counts what is asked for: a clock of use.
    asked: u64,
}

#[derive(Debug)]
struct Entry {
    table: Arc<Table>,
    bytes: usize,
    used: u64,
}

impl Cache {
    pub fn get(&self, ident: &TableIdent) -> Option<Arc<Table>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.asked += 1;
        let asked = held.asked;
        let entry = held.tables.get_mut(ident)?;
        entry.used = asked;
        Some(entry.table.clone())
    }

    pub fn put(&self, table: &Arc<Table>) {
        let bytes = taken_by(table);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.asked += 1;
        let entry = Entry { table: table.clone(), bytes, used: held.asked };
        held.bytes += bytes;
        if let Some(before) = held.tables.insert(table.ident.clone(), entry) {
            held.bytes -= before.bytes;
        }
        if held.bytes > MOST {
            held.shrink();
        }
    }

    pub fn forget(&self, ident: &TableIdent) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = held.tables.remove(ident) {
            held.bytes -= entry.bytes;
        }
    }
}

impl Held {
    /// Down to three quarters of the bound, so that this is seldom; the table asked for last stays, however large.
    fn shrink(&mut self) {
        let mut ages: Vec<(u64, TableIdent)> =
            self.tables.iter().map(|(ident, entry)| (entry.used, ident.clone())).collect();
        ages.sort_unstable_by_key(|age| age.0);
        ages.pop();
        for (_, ident) in ages {
            if self.bytes <= MOST / 4 * 3 {
                break;
            }
            if let Some(entry) = self.tables.remove(&ident) {
                self.bytes -= entry.bytes;
            }
        }
    }
}
