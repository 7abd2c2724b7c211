//! Cutting text into bodies between its records.

use std::io::BufRead;

use crate::error::{Error, Kind, Result};
use crate::flow::Format;

/// Bytes of a body before it is sent; its last record may make it longer.
pub const BODY: usize = 8 << 20;
/// The longest record that is sent.
const RECORD: usize = 64 << 20;

/// Reads bodies of whole records; each body of CSV begins with the header.
pub struct Cutter<R> {
    reader: R,
    csv: bool,
    header: Vec<u8>,
    /// Lines read, those of the header left out.
    lines: u64,
}

impl<R: BufRead> Cutter<R> {
    /// Cuts NDJSON or CSV.
    ///
    /// # Errors
    /// Those of the reader; `Invalid` for a record without end.
    pub fn new(format: Format, reader: R) -> Result<Self> {
        let mut cutter = Cutter { reader, csv: format == Format::Csv, header: Vec::new(), lines: 0 };
        if cutter.csv {
            let mut header = Vec::new();
            cutter.record(&mut header)?;
            if !header.is_empty() && !header.ends_with(b"\n") {
                header.push(b'\n');
            }
            cutter.header = header;
            cutter.lines = 0;
        }
        Ok(cutter)
    }

    /// Lines of the source before the next body, but for those of the header, which each body has.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The next body; `None` at the end.
    ///
    /// # Errors
    /// As for [`Cutter::new`].
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut body = Vec::with_capacity(BODY + (BODY >> 3));
        body.extend_from_slice(&self.header);
        while body.len() < BODY && self.record(&mut body)? {}
        Ok((body.len() > self.header.len()).then_some(body))
    }

    /// Adds a record: a line, or as many as a quoted field of CSV spans. Whether there was one.
    fn record(&mut self, body: &mut Vec<u8>) -> Result<bool> {
        let (start, mut quotes) = (body.len(), 0);
        loop {
            let line = body.len();
            let most = (RECORD + 1).saturating_sub(line - start) as u64;
            let read = std::io::Read::take(&mut self.reader, most).read_until(b'\n', body)?;
            if body.len() - start > RECORD {
                let at = String::from_utf8_lossy(&body[start..start + 80]).into_owned();
                return Err(Error::new(Kind::Invalid, "a record is longer than 64 MiB; is a quote not closed?")
                    .with("it begins", at));
            }
            self.lines += u64::from(read > 0);
            quotes += if self.csv { memchr::memchr_iter(b'"', &body[line..]).count() } else { 0 };
            if read == 0 || quotes % 2 == 0 {
                return Ok(body.len() > start);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(format: Format, text: &str) -> Vec<String> {
        let mut cutter = Cutter::new(format, text.as_bytes()).expect("a header");
        let mut found = Vec::new();
        while let Some(body) = cutter.next().expect("reads") {
            found.push(String::from_utf8(body).expect("UTF-8"));
        }
        found
    }

    #[test]
    fn bodies_end_between_records_and_begin_with_the_header() {
        let row = format!("1,\"{}\n{}\"\n", "x".repeat(BODY / 2), "y".repeat(BODY / 2));
        let found = bodies(Format::Csv, &format!("a,\"b\nc\"\n{row}{row}2,z"));
        assert_eq!(found, [format!("a,\"b\nc\"\n{row}"), format!("a,\"b\nc\"\n{row}"), "a,\"b\nc\"\n2,z".to_string()]);
    }

    #[test]
    fn every_line_is_in_one_body() {
        let text: String = (0..400_000).map(|number| format!("{{\"n\":{number},\"t\":\"\\\"\"}}\n")).collect();
        let found = bodies(Format::Ndjson, &text);
        assert!(found.len() > 1 && found.iter().all(|body| body.ends_with("}\n")));
        assert_eq!(found.concat(), text);
        let mut cutter = Cutter::new(Format::Ndjson, text.as_bytes()).expect("opens");
        let first = cutter.next().expect("reads").expect("a body");
        assert_eq!(cutter.lines(), first.iter().filter(|byte| **byte == b'\n').count() as u64);
    }

    #[test]
    fn nothing_is_no_body() {
        assert!(bodies(Format::Ndjson, "").is_empty());
        assert!(bodies(Format::Csv, "a,b").is_empty());
        assert_eq!(bodies(Format::Csv, "a,b\n1,2"), ["a,b\n1,2"]);
    }

    #[test]
    fn an_open_quote_does_not_take_all_memory() {
        let text = format!("a\n\"{}", "x\n".repeat(RECORD / 2 + 10));
        let mut cutter = Cutter::new(Format::Csv, text.as_bytes()).expect("a header");
        assert_eq!(cutter.next().expect_err("endless").kind(), Kind::Invalid);
    }
}
