//! Drafts from records: CSV with a header, and JSON objects.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Draft;
use super::seen::{Given, Seen};

/// Columns by name, in the order they are first met.
#[derive(Default)]
struct Columns {
    columns: Vec<(String, Seen)>,
    records: u64,
    is_json: bool,
}

pub(super) fn csv(bytes: &[u8], complete: bool) -> Draft {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    let mut draft = Draft::default();
    if text.contains('\u{fffd}') {
        draft.notes.push("Some of it is not UTF-8: such records will be refused.".to_owned());
    }
    let mut rows = Cells { rest: text };
    let header: Vec<String> = rows.next().unwrap_or_default();
    if header.len() == 1 && header[0].contains([';', '\t']) {
        draft.notes.push("The header has `;` or tabs but no comma: a CSV here is separated by commas.".to_owned());
    }
    let mut columns = Columns::default();
    columns.columns.extend(header.into_iter().map(|name| (name, Seen::default())));
    let mut uneven = 0u64;
    let mut pending: Option<Vec<String>> = None;
    for row in rows {
        if let Some(row) = pending.replace(row) {
            uneven += u64::from(!columns.row(&row));
        }
    }
    // Of a sample that was cut, the last record is cut too.
    if let Some(row) = pending.filter(|_| complete) {
        uneven += u64::from(!columns.row(&row));
    }
    if uneven > 0 {
        draft.notes.push(format!("{uneven} records have more or fewer cells than the header: they will be refused."));
    }
    columns.finish(draft, complete)
}

pub(super) fn json(bytes: &[u8], complete: bool) -> Draft {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}').trim();
    let mut columns = Columns { is_json: true, ..Columns::default() };
    let mut draft = Draft::default();
    let mut bad = 0u64;
    if text.starts_with('[') {
        match serde_json::from_str::<Vec<Object>>(text) {
            Ok(objects) => objects.iter().for_each(|object| columns.object(object)),
            Err(error) => draft.notes.push(format!("Not an array of objects: {error}.")),
        }
    } else {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty()).peekable();
        while let Some(line) = lines.next() {
            match serde_json::from_str::<Object>(line) {
                Ok(object) => columns.object(&object),
                Err(_) if !complete && lines.peek().is_none() => {}
                Err(_) => bad += 1,
            }
        }
    }
    if bad > 0 {
        draft.notes.push(format!("{bad} lines are no JSON objects: they will be refused."));
    }
    columns.finish(draft, complete)
}

impl Columns {
    /// Whether the row has as many cells as the header.
    fn row(&mut self, row: &[String]) -> bool {
        if row.len() != self.columns.len() {
            return false;
        }
        self.records += 1;
        for ((_, seen), cell) in self.columns.iter_mut().zip(row) {
            seen.add(Given::Cell(cell));
        }
        true
    }

    fn object(&mut self, object: &Object) {
        self.records += 1;
        for (index, (name, value)) in object.0.iter().enumerate() {
            // Most objects have their keys in the order of the first.
            let at = if self.columns.get(index).is_some_and(|(known, _)| known == name) {
                index
            } else if let Some(at) = self.columns.iter().position(|(known, _)| known == name) {
                at
            } else {
                self.columns.push((name.clone(), Seen::default()));
                self.columns.len() - 1
            };
            let raw = value.get();
            let text: String;
            self.columns[at].1.add(match raw.as_bytes().first() {
                Some(b'"') => {
                    text = serde_json::from_str(raw).unwrap_or_default();
                    Given::Text(&text)
                }
                Some(b'{' | b'[') => Given::Nested,
                Some(b't' | b'f') => Given::Boolean,
                Some(b'n') | None => Given::Null,
                Some(_) => Given::Number(raw),
            });
        }
    }

    fn finish(self, mut draft: Draft, complete: bool) -> Draft {
        draft.notes.push(match complete {
            true => format!("{} records were read.", self.records),
            false => format!("The first {} records were read: fields may be null further on.", self.records),
        });
        let mut kept = Vec::new();
        for (name, seen) in &self.columns {
            kept.extend(seen.column(name, &mut draft).map(|column| (column, seen)));
        }
        for (column, seen) in &kept {
            let texts = seen.null_texts(column);
            if self.is_json
                && !texts.is_empty()
                && (column.kind != "string" || texts.iter().any(|text| !text.is_empty()))
            {
                draft.lenient.insert("texts stand for null");
            }
            draft.nulls.extend(texts.iter().filter(|text| !text.is_empty()).map(|text| (*text).to_owned()));
        }
        for (mut column, seen) in kept {
            let own = seen.null_texts(&column);
            let listed = |text: &str| text.is_empty() || draft.nulls.contains(text);
            if draft.nulls.iter().any(|text| seen.saw(text) && !own.contains(&text.as_str())) {
                let texts = std::iter::once("").chain(own.iter().copied().filter(|text| !text.is_empty()));
                let texts: Vec<_> = texts.map(super::quoted).collect();
                column.note("The other texts that mean null elsewhere are values here.");
                column.keys.push(("null_values", format!("[{}]", texts.join(", "))));
            }
            let empty_text = |text: &str| self.is_json && text.is_empty() && column.kind == "string";
            let nulls = seen.nulls().any(|text| listed(text) && own.contains(&text) && !empty_text(text));
            column.required = complete && !nulls && self.records > 0 && seen.present() >= self.records;
            draft.columns.push(column);
        }
        draft
    }
}

/// A JSON object's pairs in order, values as they are written.
pub(super) struct Object(pub(super) Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The records of a CSV text, by RFC 4180; empty lines are none.
struct Cells<'t> {
    rest: &'t str,
}

impl Iterator for Cells<'_> {
    type Item = Vec<String>;

    fn next(&mut self) -> Option<Vec<String>> {
        self.rest = self.rest.trim_start_matches(['\r', '\n']);
        if self.rest.is_empty() {
            return None;
        }
        let mut cells = Vec::new();
        loop {
            let (cell, rest) = cell(self.rest);
            cells.push(cell);
            match rest.strip_prefix(',') {
                Some(rest) => self.rest = rest,
                None => {
                    self.rest = rest;
                    return Some(cells);
                }
            }
        }
    }
}

/// One cell, and the text from the comma or line end behind it.
fn cell(text: &str) -> (String, &str) {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find([',', '\r', '\n']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut cell = String::new();
    loop {
        let end = rest.find('"').unwrap_or(rest.len());
        cell.push_str(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or_default();
        match rest.strip_prefix('"') {
            Some(more) => {
                cell.push('"');
                rest = more;
            }
            None => break,
        }
    }
    let end = rest.find([',', '\r', '\n']).unwrap_or(rest.len());
    cell.push_str(&rest[..end]);
    (cell, &rest[end..])
}
