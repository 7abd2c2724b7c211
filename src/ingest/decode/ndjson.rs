//! NDJSON: one JSON object a line. Lines end with LF or CRLF, the last one's may be missing; blank lines are no records.
//!
//! A line is its own world: whatever is wrong with it refuses that record alone. One that is longer than the limit is
//! refused without being held: its beginning is kept for quarantine and the rest is read over.

use std::sync::Arc;

use memchr::{memchr, memrchr};

use super::object::Objects;
use super::rows::{Origin, Rows, cut};
use super::text::{Text, check_magic};
use super::unpack::Unpacked;
use super::{Batches, Options};
use crate::contract::{Code, Contract};
use crate::error::Result;
use crate::flow::Admitted;

/// Reads lines into batches.
pub struct Ndjson {
    text: Text,
    rows: Rows,
    objects: Objects,
    /// The next line's start, and the end of the lines that are here whole.
    at: usize,
    end: usize,
    /// Whether the text up to `end` is known to be UTF-8.
    utf8: bool,
}

impl Ndjson {
    /// Over a source.
    pub fn new(contract: Arc<Contract>, source: Unpacked, options: Options) -> Result<Self> {
        let depth = options.max_depth;
        let objects = Objects::new(contract.fields().len(), contract.unknown, contract.strict, depth);
        let mut text = Text::new(source, options);
        let at = check_magic(&mut text.window)?;
        Ok(Self { text, rows: Rows::new(contract), objects, at, end: at, utf8: true })
    }

    /// Finds more whole lines; false if there are none any more, or the line is too long.
    fn more(&mut self) -> Result<bool> {
        let mut from = self.end;
        loop {
            if let Some(last) = memrchr(b'\n', &self.text.window.text()[from..]) {
                self.end = from + last + 1;
                break;
            }
            from = self.text.window.filled();
            if from - self.at > self.text.options.max_record {
                return Ok(false);
            }
            if !self.text.window.fill()? {
                if from == self.at {
                    return Ok(false);
                }
                self.text.window.close_last_line();
                self.end = self.text.window.filled();
                break;
            }
        }
        self.utf8 = simdutf8::basic::from_utf8(&self.text.window.text()[self.at..self.end]).is_ok();
        Ok(true)
    }

    /// Reads whole lines until there are no more here or the batch is full.
    fn lines(&mut self) {
        let text = self.text.window.text();
        let (most_rows, most_bytes) = (self.text.options.batch_records, self.text.options.batch_bytes);
        while self.at < self.end && self.rows.len() < most_rows && self.at < most_bytes {
            if self.utf8
                && let Some(mut next) = self.objects.fast(&mut self.rows, text, self.at)
            {
                next += usize::from(text.get(next) == Some(&b'\r'));
                if text.get(next) == Some(&b'\n') {
                    self.text.spans.push((self.at as u32, next as u32));
                    self.at = next + 1;
                    self.text.lines += 1;
                    continue;
                }
                self.rows.unend();
            }
            let end = memchr(b'\n', &text[self.at..self.end]).map_or(self.end, |n| self.at + n);
            let line = &text[self.at..end];
            if !line.trim_ascii().is_empty() {
                self.text.spans.push((self.at as u32, end as u32));
                line_exact(&mut self.objects, &mut self.rows, line, self.text.options.max_record);
            }
            self.at = end + 1;
            self.text.lines += 1;
        }
    }

    fn finish(&mut self) -> Result<Admitted> {
        let text = &self.text;
        let at = self.at;
        let admitted = self.rows.finish(|rows| text.origins(rows))?;
        self.text.forget(at);
        self.end -= at;
        self.at = 0;
        Ok(admitted)
    }

    /// The record at hand, the first of its batch, is too long: keeps its beginning and reads over the rest.
    fn too_long(&mut self) -> Result<Admitted> {
        let most = self.text.options.max_record;
        let origin: Origin =
            (Some(self.text.lines + 1), cut(&self.text.window.text()[self.at..], self.text.options.max_raw));
        self.text.window.forget(self.at);
        self.text.window.forget_line()?;
        self.text.lines += 1;
        self.text.base = self.text.lines;
        (self.at, self.end) = (0, 0);
        self.rows.refuse(Code::TooLong, format!("the record is longer than {most} bytes"));
        self.rows.finish(|_| vec![origin])
    }
}

fn line_exact(objects: &mut Objects, rows: &mut Rows, line: &[u8], most: usize) {
    if line.len() > most {
        return rows.refuse(Code::TooLong, format!("the record is longer than {most} bytes"));
    }
    match simdutf8::compat::from_utf8(line) {
        Ok(line) => objects.exact(rows, line),
        Err(error) => {
            let detail = format!("not UTF-8 at byte {} of the record", error.valid_up_to() + 1);
            rows.refuse(Code::Utf8, detail);
        }
    }
}

impl Batches for Ndjson {
    fn next(&mut self) -> Result<Option<Admitted>> {
        loop {
            self.lines();
            let full = self.rows.len() >= self.text.options.batch_records || self.at >= self.text.options.batch_bytes;
            if full && self.rows.len() > 0 {
                return self.finish().map(Some);
            }
            if full {
                // Blank lines only.
                self.text.forget(self.at);
                self.end -= self.at;
                self.at = 0;
            }
            if self.at < self.end || self.more()? {
                continue;
            }
            if self.rows.len() > 0 {
                return self.finish().map(Some);
            }
            if self.text.window.filled() > self.at {
                return self.too_long().map(Some);
            }
            return Ok(None);
        }
    }
}
