//! JSON: an array of objects, or one object. The array is read element by element; it is never held whole.
//!
//! An element the contract refuses is a reject like any other. Where the array's own grammar breaks there is no next
//! element to be found, so the source as a whole is refused; the same goes for an element beyond the size limit.

use std::sync::Arc;

use memchr::memchr_iter;

use super::object::{Objects, syntax};
use super::rows::Rows;
use super::scan::{NoJson, Scanner};
use super::text::{Text, check_magic};
use super::unpack::Unpacked;
use super::{Batches, Options};
use crate::contract::{Code, Contract};
use crate::error::{Error, Kind, Result};
use crate::flow::Admitted;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing read yet.
    Start,
    /// A value comes, or the array's end if it is the first.
    Value { first: bool },
    /// A comma or the array's end comes.
    Comma,
    /// Nothing but white space may come.
    End,
}

/// Reads the elements of a document into batches.
pub struct Document {
    text: Text,
    rows: Rows,
    objects: Objects,
    at: usize,
    state: State,
    in_array: bool,
}

impl Document {
    /// Over a source.
    pub fn new(contract: Arc<Contract>, source: Unpacked, options: Options) -> Result<Self> {
        let objects = Objects::new(contract.fields().len(), contract.unknown, contract.strict, options.max_depth);
        let mut text = Text::new(source, options);
        let at = check_magic(&mut text.window)?;
        Ok(Self { text, rows: Rows::new(contract), objects, at, state: State::Start, in_array: false })
    }

    /// The next byte that is not white space; none at the end.
    fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            let text = self.text.window.text();
            while let Some(&b) = text.get(self.at) {
                if !matches!(b, b' ' | b'\t' | b'\n' | b'\r') {
                    return Ok(Some(b));
                }
                self.at += 1;
            }
            if self.text.spans.is_empty() {
                self.start_batch();
            }
            if !self.text.window.fill()? {
                return Ok(None);
            }
        }
    }

    fn start_batch(&mut self) {
        self.text.lines += memchr_iter(b'\n', &self.text.window.text()[..self.at]).count() as u64;
        self.text.forget(self.at);
        self.at = 0;
    }

    fn broken(&self, message: impl Into<String>) -> Error {
        let line = self.text.base + 1 + memchr_iter(b'\n', &self.text.window.text()[..self.at]).count() as u64;
        let error = Error::new(Kind::Invalid, message).with("byte", self.text.window.offset(self.at));
        error.with("line", line)
    }

    /// One step through the document; false at its end.
    fn step(&mut self) -> Result<bool> {
        let next = self.peek()?;
        self.state = match (self.state, next) {
            (State::Start, None) => return Ok(false),
            (State::End, None) => return Ok(false),
            (State::Start, Some(b'[')) => {
                self.at += 1;
                self.in_array = true;
                State::Value { first: true }
            }
            (State::Start, Some(_)) => self.element()?,
            (State::Value { first: true } | State::Comma, Some(b']')) => {
                self.at += 1;
                State::End
            }
            (State::Comma, Some(b',')) => {
                self.at += 1;
                State::Value { first: false }
            }
            (State::Value { .. }, Some(_)) => self.element()?,
            (State::End, Some(_)) if self.in_array => return Err(self.broken("more text stands behind the JSON array")),
            (State::End, Some(_)) => {
                let message = "more text stands behind the JSON object; send several as an array, or as \
                               application/x-ndjson (.ndjson)";
                return Err(self.broken(message));
            }
            (_, None) => return Err(self.broken("the JSON array ends early: it was cut off; send it again whole")),
            (State::Comma, Some(_)) => return Err(self.broken("a comma or `]` is missing in the JSON array")),
        };
        Ok(true)
    }

    fn element(&mut self) -> Result<State> {
        let after = if self.in_array { State::Comma } else { State::End };
        let start = self.at;
        if let Some(end) = self.objects.fast(&mut self.rows, self.text.window.text(), start) {
            if simdutf8::basic::from_utf8(&self.text.window.text()[start..end]).is_ok() {
                self.text.spans.push((start as u32, end as u32));
                self.at = end;
                return Ok(after);
            }
            self.rows.unend();
        }
        let end = self.extent()?;
        let bytes = &self.text.window.text()[start..end];
        self.text.spans.push((start as u32, end as u32));
        match simdutf8::basic::from_utf8(bytes) {
            Ok(element) => self.objects.exact(&mut self.rows, element),
            Err(_) => self.rows.refuse(Code::Utf8, "not UTF-8"),
        }
        self.at = end;
        Ok(after)
    }

    /// Where the value at hand ends, by its brackets and quotes; reads on as needed.
    fn extent(&mut self) -> Result<usize> {
        let mut find = Extent { at: self.at, depth: 0, in_text: false };
        loop {
            if let Some(end) = find.run(self.text.window.text()) {
                return self.grammar(end);
            }
            let most = self.text.options.max_record;
            if find.at - self.at > most {
                return Err(self.broken(format!("a record of the JSON document is longer than {most} bytes")));
            }
            if !self.text.window.fill()? {
                let end = self.text.window.filled();
                return if find.depth == 0 && !find.in_text && !self.in_array { Ok(end) } else { self.grammar(end) };
            }
        }
    }

    /// The end again, if the value is JSON; nested too deep is the record's fault, all else the document's.
    fn grammar(&self, end: usize) -> Result<usize> {
        let lossy = String::from_utf8_lossy(&self.text.window.text()[self.at..end]);
        let depth = self.text.options.max_depth;
        let mut scanner = Scanner::new(&lossy, depth);
        match scanner.value() {
            Ok(_) | Err(NoJson::Deep) => Ok(end),
            Err(no) => {
                let (_, message) = syntax(no, &lossy, depth);
                Err(self.broken(message))
            }
        }
    }

    fn finish(&mut self) -> Result<Admitted> {
        let text = &self.text;
        let admitted = self.rows.finish(|rows| text.origins(rows))?;
        self.start_batch();
        Ok(admitted)
    }
}

/// Looks for the end of a JSON value without judging it.
struct Extent {
    at: usize,
    depth: usize,
    in_text: bool,
}

impl Extent {
    fn run(&mut self, text: &[u8]) -> Option<usize> {
        while let Some(&b) = text.get(self.at) {
            if self.in_text {
                match b {
                    b'\\' if self.at + 1 >= text.len() => return None,
                    b'\\' => self.at += 1,
                    b'"' => self.in_text = false,
                    _ => {}
                }
            } else {
                match b {
                    b'"' => self.in_text = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' if self.depth == 0 => return Some(self.at),
                    b'}' | b']' => self.depth -= 1,
                    b',' if self.depth == 0 => return Some(self.at),
                    _ => {}
                }
            }
            self.at += 1;
            if self.depth == 0 && !self.in_text && matches!(b, b'}' | b']' | b'"') {
                return Some(self.at);
            }
        }
        None
    }
}

impl Batches for Document {
    fn next(&mut self) -> Result<Option<Admitted>> {
        loop {
            let full = self.rows.len() >= self.text.options.batch_records || self.at >= self.text.options.batch_bytes;
            if full && self.rows.len() > 0 {
                return self.finish().map(Some);
            }
            if !self.step()? {
                return if self.rows.len() > 0 { self.finish().map(Some) } else { Ok(None) };
            }
        }
    }
}
