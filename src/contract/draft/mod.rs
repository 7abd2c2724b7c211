//! Drafts of contracts, inferred from what a data owner has: a CSV or JSON file, a Parquet schema, a JSON Schema.
//!
//! A draft is text for a person: commented TOML that is a valid contract as it stands and takes the very file it was
//! made from. Where that asks for a guess (a time zone, `strict = false`, null texts), the guess is the one that loses
//! nothing, and a comment beside it says what was seen and what to write instead.

mod columns;
mod json_schema;
mod records;
mod seen;

use std::collections::BTreeSet;

use super::Contract;
use crate::error::{Error, Kind, Result};

/// What a draft is made from.
#[derive(Clone, Copy, Debug)]
pub enum Sample<'a> {
    /// The bytes of a CSV file, or its first ones.
    Csv(&'a [u8]),
    /// The bytes of a JSON file, or its first ones: an object a line, an array of objects, or a JSON Schema.
    Json(&'a [u8]),
    /// The Arrow schema of a Parquet or Arrow file.
    Columns(&'a arrow::datatypes::Schema),
}

/// Drafts a contract for `table` (`namespace.table`). `complete` says that the sample is the whole file, so that a
/// field never null in it may be called required. `source` names the file in a comment.
pub fn draft(table: &str, source: &str, sample: Sample<'_>, complete: bool) -> Result<String> {
    let mut draft = match sample {
        Sample::Csv(bytes) => records::csv(bytes, complete),
        Sample::Json(bytes) => match json_schema::schema(bytes) {
            Some(schema) => json_schema::read(&schema, bytes),
            None => records::json(bytes, complete),
        },
        Sample::Columns(schema) => columns::read(schema),
    };
    draft.drop_unusable();
    if draft.columns.is_empty() {
        let message = format!("no fields found in {source}: a CSV needs a header line, a JSON file objects with keys");
        return Err(Error::new(Kind::Invalid, message));
    }
    let text = draft.render(table, source);
    Contract::parse(&text, "draft").map(|_| text)
}

/// A contract to be printed.
#[derive(Debug, Default)]
struct Draft {
    /// Comments at the top.
    notes: Vec<String>,
    /// What the table holds, where the source says it.
    doc: String,
    /// Whether it was made from a description of records and not from records.
    from_schema: bool,
    /// Why `strict = false`, if it is.
    lenient: BTreeSet<&'static str>,
    /// Why `unknown = "ignore"`, if it is.
    ignored: Vec<String>,
    /// Texts that mean null, beside the empty one.
    nulls: BTreeSet<String>,
    columns: Vec<Column>,
}

/// A field to be printed.
#[derive(Debug, Default)]
struct Column {
    name: String,
    /// The type as a contract writes it.
    kind: String,
    required: bool,
    /// Further keys with their values in TOML.
    keys: Vec<(&'static str, String)>,
    comments: Vec<String>,
    /// A few listed values or a month of time: could be a partition.
    splits: bool,
}

impl Draft {
    /// Takes out fields whose names a contract cannot have.
    fn drop_unusable(&mut self) {
        let mut seen = BTreeSet::new();
        let ignored = &mut self.ignored;
        self.columns.retain(|column| {
            if column.name.is_empty() || column.name.contains(char::is_control) {
                ignored.push("a column without a usable name".to_owned());
                return false;
            }
            if !seen.insert(column.name.to_lowercase()) {
                ignored.push(format!("`{}`, which differs from another in case only, or is there twice", column.name));
                return false;
            }
            true
        });
    }

    fn render(&self, table: &str, source: &str) -> String {
        let mut out = vec![format!("# A draft for {table}, made from {source}. Read it through, then keep it as")];
        let takes = if self.from_schema { "what that schema describes" } else { "that file as it stands" };
        out.push(format!("# schemas/{}.toml: it takes {takes}.", path(table)));
        out.extend(self.notes.iter().map(|note| format!("# {note}")));
        out.push("[table]".to_owned());
        out.push(format!("name = {}", quoted(table)));
        out.push("version = 1".to_owned());
        out.push(format!("doc = {}  # what a row of this table is", quoted(&self.doc)));
        if !self.lenient.is_empty() {
            out.extend(self.lenient.iter().map(|reason| format!("# Not strict: {reason}.")));
            out.push("strict = false".to_owned());
        }
        if !self.ignored.is_empty() {
            out.extend(self.ignored.iter().map(|what| format!("# Left out: {}.", one_line(what))));
            out.push("unknown = \"ignore\"".to_owned());
        }
        if !self.nulls.is_empty() {
            let nulls: Vec<_> = std::iter::once("").chain(self.nulls.iter().map(String::as_str)).map(quoted).collect();
            out.push("# Texts found in place of values; they become null.".to_owned());
            out.push(format!("null_values = [{}]", nulls.join(", ")));
        }
        self.render_layout(&mut out);
        out.push(String::new());
        out.push("[fields]".to_owned());
        for column in &self.columns {
            out.extend(column.comments.iter().map(|comment| format!("# {}", one_line(comment))));
            out.push(column.render());
        }
        out.push(String::new());
        out.join("\n")
    }

    /// Candidates, as comments: a layout is a decision, and a small table is best without.
    fn render_layout(&self, out: &mut Vec<String>) {
        let time =
            self.columns.iter().find(|column| matches!(column.kind.as_str(), "date" | "timestamp" | "timestamptz"));
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.columns.iter().find(|column| column.splits).map(|column| quoted(&column.name)));
        parts.extend(time.map(|column| quoted(&format!("month({})", column.name))));
        if !parts.is_empty() {
            out.push(
                "# Candidates, for a table of many million rows; queries that filter by them read less.".to_owned(),
            );
            out.push(format!("# partition = [{}]", parts.join(", ")));
        }
        let key = self.columns.iter().find(|column| {
            let name = column.name.to_lowercase();
            column.kind == "string" && !column.splits && (name.ends_with("id") || name.contains("symbol"))
        });
        let key = key.or_else(|| self.columns.iter().find(|column| column.kind == "string" && !column.splits));
        let order: Vec<_> = key.into_iter().chain(time).map(|column| quoted(&column.name)).collect();
        if !order.is_empty() {
            out.push(format!("# sort = [{}]", order.join(", ")));
        }
    }
}

impl Column {
    fn new(name: &str, kind: impl Into<String>) -> Self {
        Self { name: name.to_owned(), kind: kind.into(), ..Self::default() }
    }

    fn note(&mut self, comment: impl Into<String>) {
        self.comments.push(comment.into());
    }

    fn render(&self) -> String {
        let bare = self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let name = if bare { self.name.clone() } else { quoted(&self.name) };
        if !self.required && self.keys.is_empty() {
            return format!("{name} = {}", quoted(&self.kind));
        }
        let mut keys = vec![format!("type = {}", quoted(&self.kind))];
        if self.required {
            keys.push("required = true".to_owned());
        }
        keys.extend(self.keys.iter().map(|(key, value)| format!("{key} = {value}")));
        format!("{name} = {{ {} }}", keys.join(", "))
    }
}

fn path(table: &str) -> String {
    table.rsplit_once('.').map_or_else(|| table.to_owned(), |(namespace, table)| format!("{namespace}/{table}"))
}

/// A TOML basic string, on one line.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Text that stays within its comment's line, cut at a bound.
fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests;
