//! Data contracts: what records a table takes, how it is laid out, and how text becomes its columns.
//!
//! Pure: no IO but for [`load_dir`], no clock. A contract is a TOML file `schemas/<namespace>/<table>.toml`:
//!
//! ```toml
//! #:schema ../contract.schema.json
//! [table]
//! version = 1                                  # raise it with each change
//! doc = "Readings of glucose monitors."
//! strict = true                                # the default: no coercion, see below
//! unknown = "reject"                           # or "ignore": fields the contract does not have
//! time_zone = "Asia/Taipei"                    # how a timestamp without offset is read; without it, it is refused
//! null_values = ["", "NA"]                     # texts that mean null; the default is [""]
//! atomic = "file"                              # or "parts": large dropped files appear as they are read; the default
//! reject_limit = "5%"                          # more bad records than this stop their source; the default
//! partition = ["country", "month(timestamp)"]
//! sort = ["user_id", "timestamp desc nulls last"]
//! identifier = ["reading_id"]
//!
//! [properties]                                 # Iceberg table properties
//! "write.target-file-size-bytes" = 268435456
//!
//! [fields]                                     # columns, in this order; their ids are 1, 2, 3 …
//! reading_id = { type = "string", required = true, length = [1, 64] }
//! country    = { type = "string", required = true, enum = ["TW", "JP"] }
//! timestamp  = { type = "timestamptz", required = true }
//! glucose    = { type = "double", range = [20, 600], unit = "mg/dL", doc = "Interstitial glucose." }
//! share      = { type = "double", range = { above = 0, max = 1 } }
//! code       = { type = "string", pattern = "[A-Z]{3}", was = "sort" }   # matches the whole text; its earlier names
//! note       = "string"
//! ```
//!
//! # How text becomes values
//! `strict` (the default) takes a value only as its type is written: in JSON a number, boolean or text must be that
//! kind of JSON value, so a number in quotes is refused; `5.0` is no `int`. A JSON integer is always a valid `double`,
//! `float` and `decimal`. In CSV everything is text and quotes are only syntax, so a cell is read by the field's type:
//! strict takes `true` and `false` and numbers without spaces, `+`, thousands separators or, for integers, exponents.
//!
//! `strict = false` coerces where no information is lost: a number or boolean written in quotes; a number or boolean
//! into a string field (its text); spaces around a value; an integral `5.0` or `1e3` for an `int` or `long`;
//! `t/f/yes/no/y/n/1/0` in any case for a boolean; a date for a timestamp (its midnight) and a midnight for a date.
//!
//! `null_values`: in CSV, a cell whose text is exactly one of them (quotes taken off) is null, whether strict or not.
//! In JSON, null is null; with `strict = false` a JSON text that is one of them, other than the empty text in a string
//! field, is null too. A field's own `null_values` replace the table's.
//!
//! A `timestamptz` without offset is read in the field's `time_zone`, else the table's, else it is refused
//! (`naive-timestamp`). A `timestamp` takes no offset.
//!
//! A float or double refuses NaN and the infinities (`nan`) unless the field says `nan = true`; no range holds NaN.

mod change;
mod check;
mod code;
mod draft;
mod evolve;
mod field;
mod layout;
mod live;
mod lock;
mod parse;
mod rules;
mod shipped;
mod types;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{Schema as ArrowSchema, SchemaRef};
use iceberg::TableIdent;
use iceberg::spec::{Schema, SortOrder, UnboundPartitionSpec};
use sha2::{Digest, Sha256};

pub use self::change::{Change, Changes, changes};
pub use self::check::Verdict;
pub use self::code::Code;
pub use self::draft::{Sample, draft};
pub use self::evolve::{Difference, Judgement, diff, judge};
pub use self::field::{Field, Length, Limits, Pattern, Range, Values};
pub use self::layout::unlike;
pub use self::live::{Stamp, carried, judge_successor, succeeds, takes};
pub use self::lock::{LOCK, Lock};
pub use self::parse::{Problem, known, natural, parse as problems, partition_spec, partition_term, sort_order};
pub use self::rules::{Rule, rules};
pub use self::shipped::{JSON_SCHEMA, SHIPPED, files, load, load_dir, load_published, shipped};
pub use self::types::{FieldType, TYPES};
use crate::error::Result;

/// Table properties that say which contract a table was made from.
pub mod property {
    /// The contract's table, as `glucose.cgm_readings`.
    pub const ID: &str = "laked.contract.id";
    /// Its version.
    pub const VERSION: &str = "laked.contract.version";
    /// The SHA-256 of its text, in hex.
    pub const HASH: &str = "laked.contract.hash";
    /// Its text: who has the table has what its records are held to.
    pub const TEXT: &str = "laked.contract.text";
    /// `on` (the default), `warn` or `off`: what becomes of a commit that breaks the contract.
    pub const ENFORCE: &str = "laked.contract.enforce";
}

/// Properties of tables made from contracts, unless the contract's own say otherwise.
const DEFAULTS: [(&str, &str); 5] = [
    ("format-version", "2"),
    ("write.parquet.compression-codec", "zstd"),
    ("laked.retention", "10m:all, 1h:1m, 5d:1h, 90d:1d"),
    ("write.metadata.delete-after-commit.enabled", "true"),
    ("write.metadata.previous-versions-max", "100"),
];

/// What becomes of fields that the contract does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The record is refused.
    Reject,
    /// They are left out.
    Ignore,
}

/// What of a dropped file appears at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atomic {
    /// All of it, in one commit, whatever its size.
    File,
    /// What has been read by the time a commit is due; a file that turns out bad later has shown its beginning.
    Parts,
}

/// What `[table]` says, but for the layout.
#[derive(Clone, Debug)]
struct Settings {
    ident: TableIdent,
    version: u32,
    doc: Option<String>,
    strict: bool,
    unknown: Unknown,
    reject_limit: f64,
    atomic: Atomic,
    null_values: Arc<[String]>,
}

/// A compiled contract. See the module for the language and for how text becomes values.
#[derive(Clone, Debug)]
pub struct Contract {
    ident: TableIdent,
    /// Raised by its author with each change.
    pub version: u32,
    /// What the table holds, for people.
    pub doc: Option<String>,
    /// Whether values are taken only as their type is written.
    pub strict: bool,
    /// What becomes of fields that the contract does not have.
    pub unknown: Unknown,
    /// The share of bad records, 0 to 1, above which a source is stopped.
    pub reject_limit: f64,
    /// What of a dropped file appears at once.
    pub atomic: Atomic,
    null_values: Arc<[String]>,
    fields: Vec<Field>,
    arrow: SchemaRef,
    iceberg: Schema,
    spec: UnboundPartitionSpec,
    order: SortOrder,
    properties: BTreeMap<String, String>,
    hash: String,
    text: Arc<str>,
}

impl Contract {
    /// Reads a contract. `origin` is its path: the last folder and the file's name are the table's namespace and name,
    /// unless `name` in `[table]` says otherwise. The error ([`crate::error::Kind::Invalid`]) lists every mistake, one
    /// a line, as `path:line:column: what is wrong; what is possible`; [`problems`] gives them one by one.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        parse::parse(text, origin).map_err(|problems| parse::error(origin, &problems))
    }

    fn assemble(
        text: &str,
        settings: Settings,
        fields: Vec<Field>,
        schema: Schema,
        spec: UnboundPartitionSpec,
        order: SortOrder,
        properties: BTreeMap<String, String>,
    ) -> Self {
        let arrow = Arc::new(ArrowSchema::new(fields.iter().map(Field::arrow).collect::<Vec<_>>()));
        let Settings { ident, version, doc, strict, unknown, reject_limit, atomic, null_values } = settings;
        Self {
            ident,
            version,
            doc,
            strict,
            unknown,
            reject_limit,
            atomic,
            null_values,
            fields,
            arrow,
            iceberg: schema,
            spec,
            order,
            properties,
            hash: hex(&Sha256::digest(text.as_bytes())),
            text: text.into(),
        }
    }

    /// The table it is of.
    pub fn ident(&self) -> &TableIdent {
        &self.ident
    }

    /// The fields, in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The field of a name; case matters.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The texts that mean null where a field has no list of its own (each [`Field`] carries the one that applies).
    pub fn null_values(&self) -> &[String] {
        &self.null_values
    }

    /// The batches that stages exchange: a string with listed values is `Dictionary(Int8 or Int16, Utf8)`, a
    /// `timestamptz` is microseconds in UTC, a UUID 16 bytes; a column is nullable unless the field is required.
    pub fn arrow_schema(&self) -> SchemaRef {
        self.arrow.clone()
    }

    /// The table's schema, ids from 1, with the identifier fields.
    pub fn iceberg_schema(&self) -> &Schema {
        &self.iceberg
    }

    /// The table's partition spec, for its creation.
    pub fn partition_spec(&self) -> &UnboundPartitionSpec {
        &self.spec
    }

    /// The table's sort order, for its creation.
    pub fn sort_order(&self) -> &SortOrder {
        &self.order
    }

    /// The table's properties, for its creation: laked's defaults, the contract's own, its id, version and hash.
    /// `format-version` is among them, as the catalog's way to choose it.
    pub fn properties(&self) -> HashMap<String, String> {
        let defaults = DEFAULTS.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
        let mut properties: HashMap<_, _> = defaults.collect();
        properties.extend(self.properties.clone());
        properties.extend(self.stamp());
        properties.extend(self.doc.clone().map(|doc| ("comment".to_owned(), doc)));
        properties
    }

    /// The same without what names the contract, and without `format-version`: what a version may say otherwise.
    pub fn own_properties(&self) -> BTreeMap<String, String> {
        let stamp = self.stamp();
        let named = |key: &String| key == "format-version" || stamp.iter().any(|(stamped, _)| stamped == key);
        self.properties().into_iter().filter(|(key, _)| !named(key)).collect()
    }

    /// The properties that name this contract and no others: set again when a newer version is applied.
    pub fn stamp(&self) -> [(String, String); 4] {
        [
            (property::ID.to_owned(), self.id()),
            (property::VERSION.to_owned(), self.version.to_string()),
            (property::HASH.to_owned(), self.hash.clone()),
            (property::TEXT.to_owned(), self.text.to_string()),
        ]
    }

    /// The table's name in text, as `glucose.cgm_readings`.
    pub fn id(&self) -> String {
        format!("{}.{}", self.ident.namespace().join("."), self.ident.name())
    }

    /// The SHA-256 of the contract's text, in hex: what `sha256sum` says of the file.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
