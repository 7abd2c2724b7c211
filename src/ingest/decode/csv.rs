//! CSV as RFC 4180 has it: a header, commas, quotes doubled within quotes, CRLF or LF; a byte order mark is skipped.
//!
//! The header must fit the contract as a whole: a column it does not know (where unknown fields are refused), a
//! required one that is missing, or one that is there twice refuses the source, since every record would be refused.
//! Cells are read by the field's type; quotes are only syntax. Blank lines are no records. A quote that is never closed
//! refuses the record, and reading goes on at the next line.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::{memchr, memchr_iter, memrchr};

use super::bytes::{byte, find_csv_stop, find_json_stop, load8, low_bytes};
use super::column::{Column, Values};
use super::number;
use super::object::fast_seconds;
use super::rows::{Rows, cut};
use super::text::{Text, check_magic};
use super::time;
use super::unpack::Unpacked;
use super::value::{Cell, put};
use super::{Batches, Options};
use crate::contract::{Code, Contract, Unknown};
use crate::error::{Error, Kind, Result};
use crate::flow::Admitted;

/// Reads records into batches.
pub struct Csv {
    text: Text,
    rows: Rows,
    contract: Arc<Contract>,
    header: Vec<Option<usize>>,
    absent: Vec<usize>,
    /// For each column, whether only the empty cell is null, which the fast way knows.
    plain: Vec<bool>,
    at: usize,
    end: usize,
    utf8: bool,
    /// The record at hand goes beyond `end`.
    open: bool,
}

/// Where a record was split.
enum Split {
    /// The position behind the record's line end.
    Whole(usize),
    /// It goes on beyond the text.
    Open,
    /// Not CSV, for this reason; the next line begins here.
    Broken(&'static str, usize),
}

/// A cell: where it stands, without its quotes, and whether quotes within are doubled.
type Place = (usize, usize, bool);

impl Csv {
    /// Over a source; reads the header.
    pub fn new(contract: Arc<Contract>, source: Unpacked, options: Options) -> Result<Self> {
        let mut text = Text::new(source, options);
        let at = check_magic(&mut text.window)?;
        let plain = contract.fields().iter().map(|field| matches!(&field.null_values[..], [null] if null.is_empty()));
        let mut csv = Self {
            rows: Rows::new(contract.clone()),
            plain: plain.collect(),
            header: Vec::new(),
            absent: Vec::new(),
            contract,
            text,
            at,
            end: at,
            utf8: true,
            open: false,
        };
        csv.read_header()?;
        Ok(csv)
    }

    fn read_header(&mut self) -> Result<()> {
        let mut places = Vec::new();
        while self.at < self.end || self.more()? {
            let text = &self.text.window.text()[..self.end];
            match split(text, self.at, &mut places) {
                Split::Whole(next) => {
                    let line = &text[self.at..next];
                    let names: Vec<String> = if line.trim_ascii().is_empty() {
                        Vec::new()
                    } else {
                        places
                            .iter()
                            .map(|place| String::from_utf8_lossy(&unquoted(text, place)).trim().to_owned())
                            .collect()
                    };
                    self.text.lines += memchr_iter(b'\n', line).count() as u64;
                    self.at = next;
                    if !names.is_empty() {
                        return self.map_header(&names);
                    }
                }
                Split::Open if self.more()? => {}
                _ => {
                    return Err(
                        Error::new(Kind::Invalid, "the CSV header is broken: a quote is not closed").with("line", 1)
                    );
                }
            }
        }
        if self.text.window.filled() > self.at {
            return Err(Error::new(Kind::Invalid, "the CSV header is too long; is this CSV?").with("line", 1));
        }
        Ok(())
    }

    fn map_header(&mut self, names: &[String]) -> Result<()> {
        let fields = self.contract.fields();
        let refuse = |message: String| {
            let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            let error = Error::new(Kind::Invalid, message).with("line", self.text.lines);
            Err(error.with("the contract's fields", known.join(", ")))
        };
        self.header = names.iter().map(|name| fields.iter().position(|field| field.name == *name)).collect();
        let unknown = names.iter().zip(&self.header).find(|(_, column)| column.is_none());
        if let (Some((name, _)), Unknown::Reject) = (unknown, self.contract.unknown) {
            let name = cut(name.as_bytes(), 64);
            return refuse(format!("the CSV header has a column `{name}` that the contract does not"));
        }
        let twice = (0..names.len()).find(|&i| self.header[i].is_some() && self.header[..i].contains(&self.header[i]));
        if let Some(twice) = twice {
            return refuse(format!("the CSV header has the column `{}` twice", names[twice]));
        }
        self.absent = (0..fields.len()).filter(|&column| !self.header.contains(&Some(column))).collect();
        match self.absent.iter().map(|&column| &fields[column]).find(|field| field.required) {
            Some(field) => refuse(format!("the CSV header lacks the required column `{}`", field.name)),
            None => Ok(()),
        }
    }

    /// Finds more whole lines; false if there are none any more, or the record is too long.
    fn more(&mut self) -> Result<bool> {
        loop {
            if self.text.window.filled() - self.at > self.text.options.max_record && self.open {
                return Ok(false);
            }
            let from = self.end;
            if let Some(last) = memrchr(b'\n', &self.text.window.text()[from..]) {
                self.end = from + last + 1;
                break;
            }
            if self.text.window.filled() - self.at > self.text.options.max_record {
                return Ok(false);
            }
            if !self.text.window.fill()? {
                if self.text.window.filled() == from {
                    return Ok(false);
                }
                self.text.window.close_last_line();
                self.end = self.text.window.filled();
                break;
            }
        }
        self.open = false;
        self.utf8 = simdutf8::basic::from_utf8(&self.text.window.text()[self.at..self.end]).is_ok();
        Ok(true)
    }

    fn records(&mut self) {
        let text = &self.text.window.text()[..self.end];
        let (most_rows, most_bytes) = (self.text.options.batch_records, self.text.options.batch_bytes);
        let mut places = Vec::new();
        while self.at < self.end && self.rows.len() < most_rows && self.at < most_bytes {
            if self.utf8
                && let Some(next) = fast(&mut self.rows, &self.header, &self.plain, text, self.at)
            {
                for &column in &self.absent {
                    self.rows.columns[column].push_null();
                }
                self.rows.end();
                self.text.spans.push((self.at as u32, next as u32));
                self.text.lines += 1;
                self.at = next;
                continue;
            }
            let (next, broken) = match split(text, self.at, &mut places) {
                Split::Whole(next) => (next, None),
                Split::Broken(why, next) => (next, Some(why)),
                Split::Open => {
                    self.open = true;
                    return;
                }
            };
            let record = &text[self.at..next];
            self.text.lines += memchr_iter(b'\n', record).count() as u64;
            if !record.trim_ascii().is_empty() {
                self.text.spans.push((self.at as u32, next as u32));
                match (broken, record.len() > self.text.options.max_record) {
                    (_, true) => self.rows.refuse(Code::TooLong, too_long(self.text.options.max_record)),
                    (Some(why), _) => self.rows.refuse(Code::Syntax, why),
                    _ => exact(&mut self.rows, &self.header, &self.absent, self.contract.strict, text, &places, record),
                }
            }
            self.at = next;
        }
    }

    fn finish(&mut self) -> Result<Admitted> {
        let text = &self.text;
        let admitted = self.rows.finish(|rows| text.origins(rows))?;
        self.forget();
        Ok(admitted)
    }

    fn forget(&mut self) {
        self.text.forget(self.at);
        self.end -= self.at;
        self.at = 0;
    }

    /// The record at hand, the first of its batch, has no end within the limit: keeps its beginning, goes on at the
    /// next line.
    fn give_up(&mut self) -> Result<Admitted> {
        let text = &self.text.window.text()[self.at..];
        let (code, detail) = match text.len() > self.text.options.max_record {
            true => (Code::TooLong, too_long(self.text.options.max_record)),
            false => (Code::Syntax, "a quote is not closed".to_owned()),
        };
        let line = memchr(b'\n', text).map_or(text, |end| &text[..end]);
        let origin = (Some(self.text.lines + 1), cut(line, self.text.options.max_raw));
        self.text.window.forget(self.at);
        self.text.window.forget_line()?;
        self.text.lines += 1;
        self.text.base = self.text.lines;
        (self.at, self.end, self.open) = (0, 0, false);
        self.rows.refuse(code, detail);
        self.rows.finish(|_| vec![origin])
    }
}

fn too_long(most: usize) -> String {
    format!("the record is longer than {most} bytes")
}

/// Reads a record whose cells are all written in the common way; else nothing has happened.
#[inline]
fn fast(rows: &mut Rows, header: &[Option<usize>], plain: &[bool], text: &[u8], mut at: usize) -> Option<usize> {
    let last = header.len().checked_sub(1)?;
    for (i, column) in header.iter().enumerate() {
        let end = match column {
            Some(column) if plain[*column] => fast_cell(&mut rows.columns[*column], text, at),
            Some(column) => bounds(text, at).and_then(|(start, end, next)| {
                let cell = Cell::Bare(std::str::from_utf8(&text[start..end]).ok()?);
                put(&mut rows.columns[*column], cell, true).ok().map(|()| next)
            }),
            None => bounds(text, at).map(|(_, _, next)| next),
        };
        let next = end.and_then(|end| match (byte(text, end), i == last) {
            (b',', false) | (b'\n', true) => Some(end + 1),
            (b'\r', true) if byte(text, end + 1) == b'\n' => Some(end + 2),
            _ => None,
        });
        let Some(next) = next else {
            rows.undo();
            return None;
        };
        at = next;
    }
    Some(at)
}

/// Where the cell at `at` begins and ends, and the position behind it; none if it is not on one line or has quotes
/// within.
#[inline(always)]
fn bounds(text: &[u8], at: usize) -> Option<(usize, usize, usize)> {
    if byte(text, at) == b'"' {
        let end = find_json_stop(text, at + 1);
        return (byte(text, end) == b'"').then_some((at + 1, end, end + 1));
    }
    let end = find_csv_stop(text, at);
    (byte(text, end) != b'"').then_some((at, end, end))
}

/// Reads the cell at `at` into its column; returns the position behind it.
#[inline(always)]
fn fast_cell(column: &mut Column, text: &[u8], at: usize) -> Option<usize> {
    match &mut column.values {
        Values::Double(values) => {
            if let Some(number) = number::scan(text, at) {
                let value = number.double(text, at);
                values.push(value);
                return value.is_finite().then_some(number.end);
            }
        }
        Values::Long(values) => {
            if let Some(number) = number::scan(text, at) {
                values.push(number.long()?);
                return Some(number.end);
            }
        }
        Values::Instant(_) if byte(text, at + 19) == b'Z' => {
            let micros = fast_seconds(column, text, at)?;
            let Values::Instant(values) = &mut column.values else { return None };
            values.push(micros);
            return Some(at + 20);
        }
        _ => {}
    }
    let (start, end, next) = bounds(text, at)?;
    if start == end {
        if column.field.required {
            return None;
        }
        column.push_null();
        return Some(next);
    }
    match &mut column.values {
        Values::Text(runs) => runs.push(&text[start..end]),
        Values::Listed8(listed) if end - start <= 8 => {
            listed.push_word(low_bytes(load8(text, start), end - start))?;
        }
        Values::Date(values) => values.push(time::date(&text[start..end])?),
        _ => put(column, Cell::Bare(std::str::from_utf8(&text[start..end]).ok()?), true).ok()?,
    }
    Some(next)
}

/// Splits the record at `at` into its cells.
fn split(text: &[u8], mut at: usize, places: &mut Vec<Place>) -> Split {
    places.clear();
    let next_line = |at: usize| memchr(b'\n', &text[at.min(text.len())..]).map_or(text.len(), |n| at + n + 1);
    loop {
        let start = at;
        if byte(text, at) == b'"' {
            let mut doubled = false;
            at += 1;
            loop {
                match memchr(b'"', &text[at.min(text.len())..]) {
                    None => return Split::Open,
                    Some(n) if byte(text, at + n + 1) == b'"' => {
                        doubled = true;
                        at += n + 2;
                    }
                    Some(n) => {
                        at += n;
                        break;
                    }
                }
            }
            places.push((start + 1, at, doubled));
            at += 1;
        } else {
            at = find_csv_stop(text, at);
            while byte(text, at) == b'\r' && byte(text, at + 1) != b'\n' {
                at = find_csv_stop(text, at + 1);
            }
            if byte(text, at) == b'"' {
                return Split::Broken("a quote stands within a cell that does not begin with one", next_line(at));
            }
            places.push((start, at, false));
        }
        match (byte(text, at), byte(text, at + 1)) {
            (b',', _) => at += 1,
            (b'\n', _) => return Split::Whole(at + 1),
            (b'\r', b'\n') => return Split::Whole(at + 2),
            _ if at >= text.len() => return Split::Open,
            _ => return Split::Broken("text stands behind the closing quote of a cell", next_line(at)),
        }
    }
}

fn unquoted<'a>(text: &'a [u8], &(start, end, doubled): &Place) -> Cow<'a, [u8]> {
    let cell = &text[start..end];
    if !doubled {
        return Cow::Borrowed(cell);
    }
    let mut owned = Vec::with_capacity(cell.len());
    let mut bytes = cell.iter();
    while let Some(&b) = bytes.next() {
        owned.push(b);
        if b == b'"' {
            bytes.next();
        }
    }
    Cow::Owned(owned)
}

/// Reads the cells of a record by the exact rules and ends the row, good or bad.
fn exact(
    rows: &mut Rows,
    header: &[Option<usize>],
    absent: &[usize],
    strict: bool,
    text: &[u8],
    places: &[Place],
    record: &[u8],
) {
    if let Err(error) = simdutf8::compat::from_utf8(record) {
        return rows.refuse(Code::Utf8, format!("not UTF-8 at byte {} of the record", error.valid_up_to() + 1));
    }
    if places.len() != header.len() {
        let detail = format!("{} cells, but the header has {}", places.len(), header.len());
        return rows.refuse(Code::Columns, detail);
    }
    for (column, place) in header.iter().zip(places) {
        let Some(column) = column else { continue };
        let cell = unquoted(text, place);
        let cell = String::from_utf8_lossy(&cell);
        let column = &mut rows.columns[*column];
        if let Err(flaw) = put(column, Cell::Bare(&cell), strict) {
            column.push_placeholder();
            let broken = flaw.of(&column.field);
            rows.note(broken);
        }
    }
    for &column in absent {
        rows.columns[column].push_null();
    }
    rows.end();
}

impl Batches for Csv {
    fn next(&mut self) -> Result<Option<Admitted>> {
        loop {
            self.records();
            let full = self.rows.len() >= self.text.options.batch_records || self.at >= self.text.options.batch_bytes;
            if full && self.rows.len() > 0 {
                return self.finish().map(Some);
            }
            if full {
                self.forget();
            }
            if (self.at < self.end && !self.open) || self.more()? {
                continue;
            }
            if self.rows.len() > 0 {
                return self.finish().map(Some);
            }
            if self.text.window.filled() > self.at {
                return self.give_up().map(Some);
            }
            return Ok(None);
        }
    }
}
