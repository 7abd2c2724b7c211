//! A JSON object into a row. Records of one source look alike, so the last one's layout is tried first: the literal
//! bytes between its values (`,"user_id":`, white space included) are compared in one go, and each value is read
//! straight into its column. Whatever differs takes the exact way, which then teaches the layout anew.

use super::bytes::{Token, byte, find_json_stop, load8, low_bytes};
use super::column::{Column, Values};
use super::number;
use super::rows::Rows;
use super::scan::{NoJson, Scanner, Value};
use super::time;
use super::value::put;
use crate::contract::{Code, Unknown};
use crate::flow::Broken;

/// How the last record was laid out.
#[derive(Debug, Default)]
pub struct Layout {
    steps: Vec<(Token, usize)>,
    tail: Option<Token>,
    /// Optional columns it did not have.
    absent: Vec<usize>,
}

/// Reads objects into rows.
#[derive(Debug)]
pub struct Objects {
    layout: Layout,
    unknown: Unknown,
    strict: bool,
    depth: usize,
    /// For each column, whether the record being read has had it.
    seen: Vec<bool>,
}

/// What one value looks like from outside: where it begins and ends, and its column.
struct Place {
    column: usize,
    start: usize,
    end: usize,
}

impl Objects {
    /// For records of a contract with so many columns.
    pub fn new(columns: usize, unknown: Unknown, strict: bool, depth: usize) -> Self {
        Self { layout: Layout::default(), unknown, strict, depth, seen: vec![false; columns] }
    }

    /// Reads the object at `at` if it is laid out as the last one, and returns the position behind its closing bracket;
    /// else nothing has happened. The text must be UTF-8 for the row to stand.
    #[inline]
    pub fn fast(&self, rows: &mut Rows, text: &[u8], mut at: usize) -> Option<usize> {
        let tail = self.layout.tail.as_ref()?;
        for (gap, column) in &self.layout.steps {
            let read = gap.after(text, at).and_then(|at| fast_value(&mut rows.columns[*column], text, at));
            match read {
                Some(end) => at = end,
                None => {
                    rows.undo();
                    return None;
                }
            }
        }
        let Some(end) = tail.after(text, at) else {
            rows.undo();
            return None;
        };
        for &column in &self.layout.absent {
            rows.columns[column].push_null();
        }
        rows.end();
        Some(end)
    }

    /// Reads the object that is the whole of `text`, but for white space, and ends the row, good or bad.
    pub fn exact(&mut self, rows: &mut Rows, text: &str) {
        let mut scanner = Scanner::new(text, self.depth);
        if scanner.peek() != b'{' {
            let (code, detail) = match scanner.value() {
                Ok(_) => (Code::Syntax, "found JSON that is no object; a record is a JSON object".to_owned()),
                Err(no) => syntax(no, text, self.depth),
            };
            return rows.refuse(code, detail);
        }
        self.seen.fill(false);
        let mut places = Vec::with_capacity(self.seen.len());
        let read = self.members(rows, &mut scanner, &mut places).and_then(|()| match scanner.peek() {
            _ if scanner.at == text.len() => Ok(()),
            _ => Err(NoJson::Syntax(scanner.at)),
        });
        if let Err(no) = read {
            let (code, detail) = syntax(no, text, self.depth);
            return rows.refuse(code, detail);
        }
        self.fill_absent(rows);
        if rows.is_good() {
            self.learn(text, &places);
        }
        rows.end();
    }

    fn members(&mut self, rows: &mut Rows, scanner: &mut Scanner<'_>, places: &mut Vec<Place>) -> Result<(), NoJson> {
        scanner.take(b'{')?;
        if scanner.peek() == b'}' {
            return scanner.take(b'}');
        }
        loop {
            scanner.peek();
            let key = scanner.string()?;
            scanner.take(b':')?;
            scanner.peek();
            let start = scanner.at;
            let value = scanner.value()?;
            match rows.columns.iter().position(|column| column.field.name == *key) {
                Some(column) => {
                    self.member(rows, column, &value);
                    places.push(Place { column, start, end: scanner.at });
                }
                None if self.unknown == Unknown::Reject => rows.note(unknown(&key)),
                None => {}
            }
            if scanner.peek() == b'}' {
                return scanner.take(b'}');
            }
            scanner.take(b',')?;
        }
    }

    fn member(&mut self, rows: &mut Rows, column: usize, value: &Value<'_>) {
        if std::mem::replace(&mut self.seen[column], true) {
            let field = Some(rows.columns[column].field.name.clone());
            let detail = "the record has this key twice".to_owned();
            return rows.note(Broken { code: Code::DuplicateKey.slug(), field, detail });
        }
        let column = &mut rows.columns[column];
        if let Err(flaw) = put(column, value.cell(), self.strict) {
            column.push_placeholder();
            let broken = flaw.of(&column.field);
            rows.note(broken);
        }
    }

    fn fill_absent(&mut self, rows: &mut Rows) {
        for (column, _) in self.seen.iter().enumerate().filter(|(_, seen)| !**seen) {
            let column = &mut rows.columns[column];
            if column.field.required {
                column.push_placeholder();
                let detail = "the record does not have this field, which is required".to_owned();
                let field = Some(column.field.name.clone());
                rows.note(Broken { code: Code::Missing.slug(), field, detail });
            } else {
                column.push_null();
            }
        }
    }

    /// Takes a good record's layout as the one to expect. Members the contract does not have lie in the gaps, where
    /// they would have to repeat to the byte: then the exact way is taken each time.
    fn learn(&mut self, text: &str, places: &[Place]) {
        let bytes = text.as_bytes();
        let mut from = 0;
        self.layout.steps.clear();
        self.layout.tail = None;
        for place in places {
            let Some(gap) = Token::new(&bytes[from..place.start]) else { return };
            self.layout.steps.push((gap, place.column));
            from = place.end;
        }
        self.layout.absent = (0..self.seen.len()).filter(|&column| !self.seen[column]).collect();
        self.layout.tail = Token::new(bytes[from..].trim_ascii_end());
    }
}

fn unknown(key: &str) -> Broken {
    let name: String = key.chars().take(64).collect();
    let detail = "the contract has no such field".to_owned();
    Broken { code: Code::UnknownField.slug(), field: Some(name), detail }
}

/// The reason and the message for a text that is not JSON.
pub fn syntax(no: NoJson, text: &str, depth: usize) -> (Code, String) {
    match no {
        NoJson::Deep => (Code::TooDeep, format!("nested deeper than {depth} levels")),
        NoJson::Ends => (Code::Syntax, "the JSON ends too early".to_owned()),
        NoJson::Syntax(at) => {
            let near: String = text[at.min(text.len())..].chars().take(16).collect();
            (Code::Syntax, format!("not JSON at byte {} of the record, near `{near}`", at + 1))
        }
    }
}

/// Reads the value at `at` into the column if it is written in the common way; returns the position behind it.
#[inline(always)]
fn fast_value(column: &mut Column, text: &[u8], at: usize) -> Option<usize> {
    if byte(text, at) == b'n' {
        if column.field.required || low_bytes(load8(text, at), 4) != u64::from_le_bytes(*b"null\0\0\0\0") {
            return None;
        }
        column.push_null();
        return Some(at + 4);
    }
    match &mut column.values {
        Values::Text(runs) => {
            let end = string_end(text, at)?;
            runs.push(&text[at + 1..end]);
            Some(end + 1)
        }
        Values::Listed8(listed) => {
            let end = string_end(text, at)?;
            if end - at > 9 {
                listed.push(std::str::from_utf8(&text[at + 1..end]).ok()?)?;
            } else {
                listed.push_word(low_bytes(load8(text, at + 1), end - at - 1))?;
            }
            Some(end + 1)
        }
        Values::Instant(_) => fast_instant(column, text, at),
        Values::Double(values) => {
            let number = number::scan(text, at)?;
            let value = number.double(text, at);
            values.push(value);
            value.is_finite().then_some(number.end)
        }
        Values::Long(values) => {
            let number = number::scan(text, at)?;
            values.push(number.long()?);
            Some(number.end)
        }
        Values::Int(values) => {
            let number = number::scan(text, at)?;
            values.push(i32::try_from(number.long()?).ok()?);
            Some(number.end)
        }
        Values::Date(values) => {
            let end = string_end(text, at)?;
            values.push(time::date(&text[at + 1..end])?);
            Some(end + 1)
        }
        _ => exact_value(column, text, at),
    }
}

#[inline(always)]
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    if byte(text, at) != b'"' {
        return None;
    }
    let end = find_json_stop(text, at + 1);
    (byte(text, end) == b'"').then_some(end)
}

#[inline(always)]
fn fast_instant(column: &mut Column, text: &[u8], at: usize) -> Option<usize> {
    if byte(text, at) == b'"' && byte(text, at + 20) == b'Z' && byte(text, at + 21) == b'"' {
        let micros = fast_seconds(column, text, at + 1)?;
        let Values::Instant(values) = &mut column.values else { return None };
        values.push(micros);
        return Some(at + 22);
    }
    exact_value(column, text, at)
}

/// The microseconds of the `YYYY-MM-DDTHH:MM:SS` at `at`; the day is remembered.
#[inline(always)]
pub fn fast_seconds(column: &mut Column, text: &[u8], at: usize) -> Option<i64> {
    let day = [load8(text, at), load8(text, at + 3)];
    if column.last_day.0 != day {
        if !matches!(byte(text, at + 10), b'T' | b't' | b' ') {
            return None;
        }
        column.last_day = (day, i64::from(time::date_at(text, at)?) * time::DAY);
    }
    Some(column.last_day.1 + time::clock_at(text, at + 11)?)
}

/// A scalar by the exact rules, where strictness makes no difference to what is read.
fn exact_value(column: &mut Column, text: &[u8], at: usize) -> Option<usize> {
    let limit = text.len().min(at + 256);
    let rest = match std::str::from_utf8(&text[at..limit]) {
        Ok(rest) => rest,
        Err(error) => std::str::from_utf8(&text[at..at + error.valid_up_to()]).ok()?,
    };
    let mut scanner = Scanner::new(rest, 1);
    let value = scanner.value().ok().filter(|_| scanner.at < rest.len())?;
    put(column, value.cell(), true).ok()?;
    Some(at + scanner.at)
}
