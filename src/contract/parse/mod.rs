//! Reads a contract's TOML. All mistakes of a file are found in one go, each with its line and column.
//!
//! The document is read as a tree of spanned values and not through serde: serde stops at the first mistake and keeps
//! no position of a value that is well-formed but wrong. Fields keep the order of the file, found from their spans.

mod fields;
mod keys;
mod layout;
mod limits;
mod table;

use std::fmt;
use std::ops::Range;

use iceberg::spec::Schema;
use toml::de::DeTable;

use self::keys::Keys;
use super::{Contract, Field};
use crate::error::{Error, Kind, Result};

pub use self::layout::{partition_spec, partition_term, sort_order};
pub use self::limits::natural;

/// The tables and keys a contract may have; the JSON Schema for editors lists the same.
pub mod known {
    /// At the top.
    pub const TOP: &[&str] = &["table", "properties", "fields"];
    /// Of `[table]`.
    pub const TABLE: &[&str] = &[
        "name",
        "version",
        "doc",
        "strict",
        "unknown",
        "time_zone",
        "null_values",
        "reject_limit",
        "atomic",
        "partition",
        "sort",
        "identifier",
    ];
    /// Of a field.
    pub const FIELD: &[&str] = &[
        "type",
        "required",
        "range",
        "enum",
        "pattern",
        "length",
        "nan",
        "unit",
        "doc",
        "was",
        "time_zone",
        "null_values",
    ];
    /// Of `range` written out.
    pub const RANGE: &[&str] = &["min", "max", "above", "below"];
    /// Of `length` written out.
    pub const LENGTH: &[&str] = &["min", "max"];
}

/// One mistake in a contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1; 0 when it is of the file and not of a place in it.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, and what is possible.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.message);
        }
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Where mistakes are noted while a file is read.
pub(super) struct Notes<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

impl<'t> Notes<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, problems: Vec::new() }
    }

    /// Notes a mistake at a place.
    pub(super) fn at(&mut self, span: Range<usize>, message: impl Into<String>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        self.problems.push(Problem {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
        });
    }

    /// Notes a mistake of the whole file.
    pub(super) fn whole(&mut self, message: impl Into<String>) {
        self.problems.push(Problem { line: 0, column: 0, message: message.into() });
    }
}

/// The longest contract, in bytes: the table carries it in its properties.
const LONGEST: usize = 1 << 20;

/// Reads a contract, or lists every mistake in it.
///
/// `origin` is the file's path: its folder and name are the table's, unless `table.name` says otherwise.
pub fn parse(text: &str, origin: &str) -> Result<Contract, Vec<Problem>> {
    let mut notes = Notes::new(text);
    if text.len() > LONGEST {
        notes.whole(format!("a contract has at most {LONGEST} bytes, this one has {}", text.len()));
        return Err(notes.problems);
    }
    let contract = read(text, origin, &mut notes);
    match contract {
        Some(contract) if notes.problems.is_empty() => Ok(contract),
        _ => {
            notes.problems.sort_by_key(|problem| (problem.line, problem.column));
            Err(notes.problems)
        }
    }
}

/// One error of all mistakes, a line each.
pub(super) fn error(origin: &str, problems: &[Problem]) -> Error {
    let place = |problem: &Problem| match problem.line {
        0 => format!("{origin}: {problem}"),
        _ => format!("{origin}:{problem}"),
    };
    Error::new(Kind::Invalid, problems.iter().map(place).collect::<Vec<_>>().join("\n"))
}

fn read(text: &str, origin: &str, notes: &mut Notes<'_>) -> Option<Contract> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        notes.at(error.span().unwrap_or(0..0), error.message());
    }
    if !errors.is_empty() {
        return None;
    }
    let top = Keys::of(document.get_ref(), known::TOP, "at the top of a contract", notes);
    let table = table::read(&top, origin, notes);
    let fields = fields::read(&top, &table, notes);
    let properties = table::properties(&top, notes);
    if fields.is_empty() {
        if notes.problems.is_empty() {
            notes.whole("a contract needs fields: add a [fields] table with a line for each, as `id = \"string\"`");
        }
        return None;
    }
    let identifier = identifier_ids(&table, &fields, notes);
    let columns = fields.iter().map(|field| field.iceberg().into());
    let schema = match Schema::builder().with_fields(columns).with_identifier_field_ids(identifier).build() {
        Ok(schema) => schema,
        Err(error) => {
            notes.whole(error.message());
            return None;
        }
    };
    let spec = layout::read_partition(&table, &schema, notes);
    let order = layout::read_sort(&table, &schema, notes);
    Some(Contract::assemble(text, table.settings, fields, schema, spec?, order?, properties))
}

fn identifier_ids(table: &table::Table<'_>, fields: &[Field], notes: &mut Notes<'_>) -> Vec<i32> {
    let mut ids = Vec::new();
    for (name, span) in &table.identifier {
        let Some(field) = fields.iter().find(|field| field.name == *name) else {
            notes.at(span.clone(), format!("no field `{name}` to identify rows by; {}", fields::names(fields)));
            continue;
        };
        if !field.required {
            notes.at(span.clone(), format!("`{name}` identifies rows, so it must be required: add `required = true`"));
        } else if matches!(field.kind, super::FieldType::Float | super::FieldType::Double) {
            notes.at(span.clone(), format!("`{name}` is a {}: such a field cannot identify rows", field.kind));
        } else {
            ids.push(field.id);
        }
    }
    ids
}
