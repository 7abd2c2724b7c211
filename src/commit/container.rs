//! Avro object container files (Avro 1.11, "Object Container Files") taken apart into blocks and put together again, without
//! a look into their records.
//!
//! What a manifest list says of an old manifest, and what a manifest says of a file that has been listed as existing, never
//! changes; to encode it anew costs some tens of microseconds a record. So the bytes of such records are copied. A file
//! is taken apart only if it is whole: what is cut off, compressed, or differs in its head from another it is to be
//! joined with is `None`, and the caller encodes.

use std::collections::BTreeMap;

use bytes::Bytes;

const MAGIC: &[u8] = b"Obj\x01";
const SYNC: usize = 16;

/// Records as they are encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// How many.
    pub count: u64,
    /// Their bytes, one after another.
    pub bytes: Vec<u8>,
}

impl Records {
    /// These, and then others.
    pub fn and(mut self, others: &Records) -> Records {
        self.count += others.count;
        self.bytes.extend_from_slice(&others.bytes);
        self
    }
}

/// A container file.
#[derive(Debug)]
pub(super) struct Container<'a> {
    /// All before the first block: the metadata, and the sync marker at its end.
    head: &'a [u8],
    /// The metadata: schema, and what the writer says of the file.
    pub metadata: BTreeMap<&'a [u8], &'a [u8]>,
    /// The records of all blocks.
    pub records: Records,
}

impl<'a> Container<'a> {
    /// Takes a file apart; `None` if it is no whole, uncompressed one.
    pub fn of(file: &'a [u8]) -> Option<Container<'a>> {
        let mut input = Input(file.strip_prefix(MAGIC)?);
        let metadata = input.metadata()?;
        if metadata.get(b"avro.codec".as_slice()).is_some_and(|codec| *codec != b"null") {
            return None;
        }
        let sync = input.take(SYNC)?;
        let head = file.get(..file.len() - input.0.len())?;
        let mut records = Records::default();
        while !input.0.is_empty() {
            records.count += u64::try_from(input.number()?).ok()?;
            records.bytes.extend_from_slice(input.bytes()?);
            if input.take(SYNC)? != sync {
                return None;
            }
        }
        Some(Container { head, metadata, records })
    }

    /// A file with this one's head and these records.
    pub fn with(&self, records: &Records) -> Bytes {
        let mut file = Vec::with_capacity(self.head.len() + records.bytes.len() + 40);
        file.extend_from_slice(self.head);
        if records.count > 0 {
            number(&mut file, records.count);
            number(&mut file, records.bytes.len() as u64);
            file.extend_from_slice(&records.bytes);
            file.extend_from_slice(&self.head[self.head.len() - SYNC..]);
        }
        file.into()
    }
}

/// A number as Avro writes it: zigzag, seven bits a byte, the lowest first.
fn number(file: &mut Vec<u8>, value: u64) {
    let mut rest = value << 1;
    while rest >= 0x80 {
        file.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    file.push(rest as u8);
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<i64> {
        let (mut bits, mut shift) = (0_u64, 0);
        loop {
            let byte = *self.take(1)?.first()?;
            bits |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
            shift += 7;
        }
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    fn metadata(&mut self) -> Option<BTreeMap<&'a [u8], &'a [u8]>> {
        let mut metadata = BTreeMap::new();
        loop {
            let count = self.number()?;
            if count == 0 {
                return Some(metadata);
            }
            if count < 0 {
                // The length of the block in bytes follows.
                self.number()?;
            }
            for _ in 0..count.unsigned_abs() {
                let key = self.bytes()?;
                metadata.insert(key, self.bytes()?);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(metadata: &[(&str, &str)], blocks: &[(u64, &[u8])]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        number(&mut file, metadata.len() as u64);
        for (key, value) in metadata {
            for text in [key, value] {
                number(&mut file, text.len() as u64);
                file.extend_from_slice(text.as_bytes());
            }
        }
        file.push(0);
        file.extend_from_slice(&[7; SYNC]);
        for (count, bytes) in blocks {
            number(&mut file, *count);
            number(&mut file, bytes.len() as u64);
            file.extend_from_slice(bytes);
            file.extend_from_slice(&[7; SYNC]);
        }
        file
    }

    #[test]
    fn records_are_taken_out_and_put_together_again() {
        let metadata = [("avro.schema", "\"int\""), ("avro.codec", "null")];
        let long = vec![1; 300];
        let blocks = file(&metadata, &[(2, b"ab"), (300, &long)]);
        let parts = Container::of(&blocks).expect("is whole");
        assert_eq!((parts.records.count, parts.records.bytes.len()), (302, 302));
        assert_eq!(parts.metadata[b"avro.schema".as_slice()], b"\"int\"");
        let joined: Vec<u8> = [b"ab".as_slice(), &long].concat();
        assert_eq!(parts.with(&parts.records), file(&metadata, &[(302, &joined)]));
        assert_eq!(parts.with(&Records::default()), file(&metadata, &[]));
        let one = Records { count: 1, bytes: b"x".to_vec() };
        assert_eq!(one.and(&parts.records).count, 303);
    }

    #[test]
    fn what_is_not_whole_is_not_taken_apart() {
        let whole = file(&[("avro.codec", "null")], &[(2, b"ab")]);
        let end = file(&[("avro.codec", "null")], &[]).len();
        for length in (0..whole.len()).filter(|length| *length != end) {
            assert!(Container::of(&whole[..length]).is_none(), "{length}");
        }
        assert!(Container::of(&file(&[("avro.codec", "deflate")], &[(2, b"ab")])).is_none());
        let mut torn = whole.clone();
        torn[whole.len() - 1] = 8;
        assert!(Container::of(&torn).is_none());
    }
}
