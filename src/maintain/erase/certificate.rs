//! The certificate: what an erase removed and where, and what still holds it. It is the erase's durable record too.
//!
//! # Form
//! A JSON file `DIR/erasures/<id>.json`, replaced whole after each step. As long as it has no `ended-ms`, the erase goes on
//! where it was when it is asked for again. It does not hold the condition, which may name the person: only the SHA-256 of
//! the id, a line break, and the condition's text, by which who knows the condition can tell that the certificate is about
//! it. (Who does not can guess: a condition on a short number is soon found.)

use std::collections::BTreeMap;

use iceberg::spec::TableMetadata;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What was removed at a place, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Rows or records that satisfied the condition; of older snapshots, those in their files, whatever became of them.
    pub rows: u64,
    /// Files that are gone: for a table those that were rewritten without the rows.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Removed {
    /// Adds to it.
    pub fn add(&mut self, rows: u64, files: u64, bytes: u64) {
        *self = Removed { rows: self.rows + rows, files: self.files + files, bytes: self.bytes + bytes };
    }
}

/// Something that still holds it, or may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What.
    pub place: String,
    /// Why, and what removes it.
    pub why: String,
}

/// The contract of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contracted {
    /// The table it is of.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of its text.
    pub hash: String,
}

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Certificate {
    /// The erase.
    pub id: String,
    /// The table.
    pub table: String,
    /// Its UUID.
    pub table_uuid: String,
    /// See the module.
    pub condition_sha256: String,
    /// Its contract, if it has one.
    pub contract: Option<Contracted>,
    /// Whether nothing was done: the figures are what would go.
    pub dry_run: bool,
    /// When it began, in ms since 1970: what came later is not part of it.
    pub began_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// Whether nothing that laked knows of holds it any more.
    pub complete: bool,
    /// By place: `table`, `older-snapshots`, `quarantine`, `quarantine-older-snapshots`, `spool`, `done`, `failed`,
    /// `duplicate`.
    pub removed: BTreeMap<String, Removed>,
    /// Snapshots that show the tables without it.
    pub snapshots_made: Vec<i64>,
    /// Snapshots that expired because they reached it.
    pub snapshots_expired: Vec<i64>,
    /// Branches and tags that were dropped because they showed it.
    pub refs_dropped: Vec<String>,
    /// Refused records of which it cannot be told, and that stay.
    pub undecided: u64,
    /// What still holds it.
    pub held: Vec<Held>,
    /// What laked cannot know of, or does not look into.
    pub unknowable: Vec<String>,
    /// Where this is kept.
    pub kept_at: Option<String>,
    /// An expiry under way: its snapshots, and what it removes, by place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiring: Option<(Vec<i64>, String, Removed)>,
}

/// Copies that nobody can list.
const UNKNOWABLE: [&str; 6] = [
    "copies of the catalog's database made by `lakectl catalog backup`: they hold no rows, but a table restored from one \
     would look for files that are gone",
    "copies of the lake's folder, snapshots of its file system or disk, what a disk keeps of unlinked files",
    "names of files, and values of partitions in them: laked's own log lines; PostgreSQL's log and its deleted rows, if the \
     catalog is there",
    "texts that somebody wrote beside the rows: a table's properties, the summaries of its snapshots, also in older metadata \
     files, names of branches and tags; and the keys that senders gave their requests, which laked keeps for a day",
    "what readers took: query results, caches, tables that other engines derived",
    "who sent it: files and systems of origin, which may send it again",
];

impl Certificate {
    /// Of an erase that begins.
    pub fn new(id: String, table: String, metadata: &TableMetadata, condition: &str, began_ms: i64) -> Certificate {
        let property = |key: &str| metadata.properties().get(key).cloned();
        let contract = property("laked.contract.id").map(|id| Contracted {
            id,
            version: property("laked.contract.version").unwrap_or_default(),
            hash: property("laked.contract.hash").unwrap_or_default(),
        });
        Certificate {
            condition_sha256: hash(&id, condition),
            id,
            table,
            table_uuid: metadata.uuid().to_string(),
            contract,
            began_ms,
            unknowable: UNKNOWABLE.map(str::to_string).to_vec(),
            ..Certificate::default()
        }
    }

    /// Whether it is of an erase of this, that has not ended.
    pub fn is_open_for(&self, metadata: &TableMetadata, condition: &str) -> bool {
        let same = self.condition_sha256 == hash(&self.id, condition);
        self.ended_ms.is_none() && same && self.table_uuid == metadata.uuid().to_string()
    }

    /// What was removed at a place.
    pub fn at(&mut self, place: &str) -> &mut Removed {
        self.removed.entry(place.to_string()).or_default()
    }

    /// Something that still holds it.
    pub fn holds(&mut self, place: impl Into<String>, why: impl Into<String>) {
        self.held.push(Held { place: place.into(), why: why.into() });
    }

    /// It has ended at this time.
    pub fn end(&mut self, now_ms: i64) {
        self.complete = self.held.is_empty() && self.undecided == 0 && !self.dry_run;
        self.ended_ms = Some(now_ms);
    }
}

/// What tells a condition without saying it.
fn hash(id: &str, condition: &str) -> String {
    let digest = Sha256::digest(format!("{id}\n{}", condition.trim()).as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
