//! A Parquet file's footer, looked through before the crate decodes it.
//!
//! At the file's end: the metadata in Thrift's compact protocol, its length (u32, little endian), `PAR1`. The crate
//! reserves what a list says of its length, so a few bytes could ask for hundreds of gigabytes and end the process: an
//! allocation that fails cannot be caught. Here every list, map and text must have room in the footer for what it says
//! it holds (Thrift compact protocol specification; an element takes a byte at least).

use std::sync::Arc;

use laked_catalog::store::DiskRead;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

const TAIL: u64 = 8;
/// Structs and lists within one another at most; Parquet's own go to 7.
const DEPTH: u32 = 32;

/// Reads the footer.
pub fn read(file: &dyn DiskRead) -> Result<Arc<ParquetMetaData>> {
    let len = file.len();
    let before_tail = len.checked_sub(TAIL).ok_or_else(|| broken("too short for a footer"))?;
    let tail = exactly(file, before_tail, TAIL)?;
    let (length, magic) = tail.split_at(4);
    if magic != b"PAR1" {
        return Err(broken("it does not end with PAR1"));
    }
    let length = u64::from(u32::from_le_bytes(length.try_into().unwrap_or_default()));
    let start = before_tail.checked_sub(length).ok_or_else(|| broken("the footer is longer than the file"))?;
    let footer = exactly(file, start, length)?;
    Walk { rest: &footer }.structure(0).ok_or_else(|| broken("the footer does not hold what it says"))?;
    ParquetMetaDataReader::decode_metadata(&footer).map(Arc::new)
}

fn broken(why: &str) -> ParquetError {
    ParquetError::General(why.to_owned())
}

fn exactly(file: &dyn DiskRead, offset: u64, length: u64) -> Result<Vec<u8>> {
    let mut buffer = vec![0; usize::try_from(length).map_err(|_| broken("the footer does not fit memory"))?];
    let read = file.read_at(offset, &mut buffer)?;
    if read == buffer.len() { Ok(buffer) } else { Err(broken("the file ends early")) }
}

/// What is left of a footer; none where it contradicts itself.
struct Walk<'a> {
    rest: &'a [u8],
}

impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn pass(&mut self, bytes: usize) -> Option<()> {
        self.rest = self.rest.get(bytes..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A number of things that take a byte each at least.
    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok().filter(|count| *count <= self.rest.len())
    }

    fn structure(&mut self, depth: u32) -> Option<()> {
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Some(());
            }
            if header >> 4 == 0 {
                self.varint()?;
            }
            match header & 0x0f {
                // True and false are in the header.
                1 | 2 => {}
                kind => self.value(kind, depth)?,
            }
        }
    }

    fn value(&mut self, kind: u8, depth: u32) -> Option<()> {
        if depth > DEPTH {
            return None;
        }
        match kind {
            1..=3 => self.pass(1),
            4..=6 => self.varint().map(drop),
            7 => self.pass(8),
            8 => {
                let length = self.count()?;
                self.pass(length)
            }
            9 | 10 => self.list(depth),
            11 => self.map(depth),
            12 => self.structure(depth + 1),
            13 => self.pass(16),
            _ => None,
        }
    }

    fn list(&mut self, depth: u32) -> Option<()> {
        let header = self.byte()?;
        let count = if header >> 4 == 15 { self.count()? } else { usize::from(header >> 4) };
        (0..count).try_for_each(|_| self.value(header & 0x0f, depth + 1))
    }

    fn map(&mut self, depth: u32) -> Option<()> {
        let count = self.count()?;
        let kinds = if count > 0 { self.byte()? } else { 0 };
        (0..count).try_for_each(|_| {
            self.value(kinds >> 4, depth + 1)?;
            self.value(kinds & 0x0f, depth + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(bytes: &[u8]) -> Option<()> {
        Walk { rest: bytes }.structure(0)
    }

    #[test]
    fn a_list_must_have_room_for_what_it_says() {
        // Field 1, a list of three i32: 1, 2, 3.
        assert_eq!(walk(&[0x19, 0x35, 2, 4, 6, 0]), Some(()));
        assert_eq!(walk(&[0x19, 0x45, 2, 4, 6, 0]), None, "the fourth is the end marker, and then there is none");
        // Field 1, a list of 2^31 - 1 structs.
        assert_eq!(walk(&[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0, 0, 0]), None);
        // Field 1, a text longer than the footer.
        assert_eq!(walk(&[0x18, 0x7f, b'x', 0]), None);
        // Structs without an end.
        assert_eq!(walk(&[0x1c; 1000]), None);
    }
}
