//! What the text formats share: the window on the source, where each record of the batch began, and on which line.
//!
//! Lines are counted record by record on the way; where a reject stood is counted again from the batch's first byte,
//! and only if there are rejects.

use memchr::memchr_iter;

use super::Options;
use super::rows::{Origin, cut};
use super::unpack::Unpacked;
use super::window::Window;
use crate::error::{Error, Kind, Result};

/// A text source and where the batch's records stand in it.
pub struct Text {
    /// The bytes in memory.
    pub window: Window,
    /// The limits.
    pub options: Options,
    /// Where each record of the batch begins and ends, in the window.
    pub spans: Vec<(u32, u32)>,
    /// Lines ended so far, in the whole source.
    pub lines: u64,
    /// Lines ended before the window's first byte.
    pub base: u64,
}

impl Text {
    /// At the start of a source.
    pub fn new(source: Unpacked, options: Options) -> Self {
        Self { window: Window::new(source), options, spans: Vec::new(), lines: 0, base: 0 }
    }

    /// Where these rows, ascending, stood.
    pub fn origins(&self, rows: &[u32]) -> Vec<Origin> {
        let text = self.window.text();
        let (mut line, mut from) = (self.base + 1, 0);
        let mut origins = Vec::with_capacity(rows.len());
        for &row in rows {
            let (start, end) = self.spans[row as usize];
            let (start, end) = (start as usize, end as usize);
            line += memchr_iter(b'\n', &text[from..start]).count() as u64;
            from = start;
            let raw = text[start..end].trim_ascii_end();
            origins.push((Some(line), cut(raw, self.options.max_raw)));
        }
        origins
    }

    /// Begins a new batch at `at` of the window.
    pub fn forget(&mut self, at: usize) {
        self.window.forget(at);
        self.spans.clear();
        self.base = self.lines;
    }
}

/// Looks at a source's first bytes: the length of a byte order mark, or an error if this is no text at all.
pub fn check_magic(window: &mut Window) -> Result<usize> {
    window.fill_to(6)?;
    let text = window.text();
    let wrong = |what: &str, hint: &str| {
        let message = format!("the content is {what}, not text; {hint}");
        Err(Error::new(Kind::Invalid, message))
    };
    match text {
        [0xEF, 0xBB, 0xBF, ..] => Ok(3),
        [0x1F, 0x8B, ..] => wrong("gzip data", "name the file .gz, or send Content-Encoding: gzip"),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => wrong("Zstandard data", "name the file .zst, or send Content-Encoding: zstd"),
        [b'P', b'A', b'R', b'1', ..] => wrong("a Parquet file", "name it .parquet, or send its Content-Type"),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => wrong("an Arrow file", "name it .arrow, or send its Content-Type"),
        [b'P', b'K', 3, 4, ..] => wrong("a zip archive", "unpack it; gzip and Zstandard are possible"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => wrong("UTF-16", "convert it to UTF-8"),
        _ => Ok(0),
    }
}
