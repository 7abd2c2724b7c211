//! The part of a text source that is in memory: one buffer that is read ahead into and that records are parsed in place
//! from. Rejects take their raw text from it, so it keeps all of the batch under construction; then the rest is moved
//! to its front. Its size is bounded by the batch's bytes and the longest record.

use memchr::memchr;

use super::unpack::Unpacked;
use crate::error::Result;

const FIRST: usize = 64 << 10;
/// One read: small enough to stay in the second-level cache until it is parsed.
const STEP: usize = 256 << 10;

/// Bytes of a source in memory.
pub struct Window {
    source: Unpacked,
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold text.
    filled: usize,
    /// Source bytes before the buffer's first.
    offset: u64,
    /// Whether the source has ended.
    ended: bool,
}

impl Window {
    /// Nothing in memory yet.
    pub fn new(source: Unpacked) -> Self {
        Self { source, buffer: vec![0; FIRST], filled: 0, offset: 0, ended: false }
    }

    /// The text.
    #[inline(always)]
    pub fn text(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Length of the text.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// The place in the source of a place in the buffer.
    pub fn offset(&self, at: usize) -> u64 {
        self.offset + at as u64
    }

    /// Reads on; true if more text came, else the source has ended.
    pub fn fill(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.buffer.len() - self.filled < FIRST / 2 {
            let more = self.buffer.len().clamp(FIRST, STEP);
            self.buffer.resize(self.buffer.len() + more, 0);
        }
        let room = self.buffer.len().min(self.filled + STEP);
        let read = self.source.read(&mut self.buffer[self.filled..room])?;
        self.filled += read;
        self.ended = read == 0;
        Ok(read > 0)
    }

    /// Fills until `bytes` are there, or all.
    pub fn fill_to(&mut self, bytes: usize) -> Result<()> {
        while self.filled < bytes && self.fill()? {}
        Ok(())
    }

    /// Puts a line end behind the last line, which came without one.
    pub fn close_last_line(&mut self) {
        self.buffer.truncate(self.filled);
        self.buffer.push(b'\n');
        self.filled += 1;
    }

    /// Forgets the text before `at`.
    pub fn forget(&mut self, at: usize) {
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
        self.offset += at as u64;
    }

    /// Forgets all up to and with the next line end, however far that is.
    pub fn forget_line(&mut self) -> Result<()> {
        loop {
            if let Some(at) = memchr(b'\n', self.text()) {
                self.forget(at + 1);
                return Ok(());
            }
            self.forget(self.filled);
            if !self.fill()? {
                return Ok(());
            }
        }
    }
}
