//! Deletion vectors (format v3): the deleted positions of one data file, a blob within a Puffin file.
//!
//! # Form
//! The manifest gives the blob's offset and length. The blob (`deletion-vector-v1`) is: the length of magic and bitmap
//! (4 bytes, big-endian), the magic number `D1 D3 39 64`, a 64-bit Roaring bitmap in its portable form, the CRC-32 of
//! magic and bitmap (4 bytes, big-endian).
//!
//! # How they are applied
//! They are rewritten as one position delete file in the query's scratch folder, (file_path, pos): what the reader does
//! with position deletes, with memory and spilling, then holds for vectors too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use roaring::RoaringTreemap;

use iceberg::spec::DataFile;
use laked_catalog::store::Store;

use crate::error::{Error, Kind, Result};

const MAGIC: [u8; 4] = [0xd1, 0xd3, 0x39, 0x64];
/// Positions of one batch of the rewritten file.
const ROWS: usize = 64 << 10;

/// The positions a vector deletes.
///
/// # Errors
/// `Corrupt` if the blob is not one; storage errors.
pub fn read(store: &Store, vector: &DataFile) -> Result<RoaringTreemap> {
    let at = |error: Error| error.with("file", vector.file_path());
    let (offset, size) = vector
        .content_offset()
        .zip(vector.content_size_in_bytes())
        .and_then(|(offset, size)| Some((u64::try_from(offset).ok()?, u64::try_from(size).ok()?)))
        .ok_or_else(|| at(Error::new(Kind::Corrupt, "a deletion vector without offset and length")))?;
    let end = offset.checked_add(size).ok_or_else(|| at(bad("its offset is beyond any file")))?;
    decode(&store.read_range(vector.file_path(), offset..end)?).map_err(at)
}

fn bad(what: &str) -> Error {
    Error::new(Kind::Corrupt, format!("a deletion vector cannot be read: {what}"))
}

fn decode(blob: &[u8]) -> Result<RoaringTreemap> {
    let (length, rest) = blob.split_first_chunk::<4>().ok_or_else(|| bad("it is cut off"))?;
    let length = u32::from_be_bytes(*length) as usize;
    let (body, rest) = rest.split_at_checked(length).ok_or_else(|| bad("it is cut off"))?;
    let sum = rest.first_chunk::<4>().ok_or_else(|| bad("it is cut off"))?;
    let mut check = flate2::Crc::new();
    check.update(body);
    if check.sum() != u32::from_be_bytes(*sum) {
        return Err(bad("its checksum is wrong"));
    }
    let bitmap = body.strip_prefix(&MAGIC).ok_or_else(|| bad("its magic number is missing"))?;
    RoaringTreemap::deserialize_from(bitmap).map_err(|error| bad("its bitmap is broken").because(error))
}

/// Writes vectors as a position delete file into `scratch`; each comes with its data file's location.
///
/// # Errors
/// Storage errors.
pub fn rewrite(vectors: &[(String, RoaringTreemap)], scratch: &Path) -> Result<PathBuf> {
    let failed = |error: parquet::errors::ParquetError| Error::new(Kind::Internal, "deletion vectors").because(error);
    let file = tempfile::Builder::new().suffix(".parquet").tempfile_in(scratch)?;
    let (file, path) = file.keep().map_err(|error| Error::from(error.error))?;
    let mut writer = ArrowWriter::try_new(file, batch("", &[])?.schema(), None).map_err(failed)?;
    for (location, positions) in vectors {
        let mut positions = positions.iter();
        loop {
            let some: Vec<i64> = positions.by_ref().take(ROWS).filter_map(|row| i64::try_from(row).ok()).collect();
            if some.is_empty() {
                break;
            }
            writer.write(&batch(location, &some)?).map_err(failed)?;
        }
    }
    writer.close().map_err(failed)?;
    Ok(path)
}

fn batch(location: &str, positions: &[i64]) -> Result<RecordBatch> {
    let files: ArrayRef = Arc::new(StringArray::from_iter_values(positions.iter().map(|_| location)));
    let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(positions.iter().copied()));
    RecordBatch::try_from_iter([("file_path", files), ("pos", rows)])
        .map_err(|error| Error::new(Kind::Internal, "deletion vectors").because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blob of a vector.
    pub fn encode(positions: &RoaringTreemap) -> Vec<u8> {
        let mut body = MAGIC.to_vec();
        positions.serialize_into(&mut body).expect("in memory");
        let mut check = flate2::Crc::new();
        check.update(&body);
        let length = u32::try_from(body.len()).expect("small").to_be_bytes();
        [&length[..], &body, &check.sum().to_be_bytes()].concat()
    }

    #[test]
    fn a_vector_reads_as_it_was_written() {
        let positions: RoaringTreemap = [0, 7, 70_000, 1 << 33].into_iter().collect();
        assert_eq!(decode(&encode(&positions)).expect("sound"), positions);
    }

    #[test]
    fn a_broken_vector_is_corrupt_and_not_empty() {
        let sound = encode(&(0..100).collect());
        for len in 0..sound.len() {
            assert_eq!(decode(&sound[..len]).expect_err("cut off").kind(), Kind::Corrupt, "{len}");
        }
        let mut flipped = sound.clone();
        flipped[20] ^= 1;
        assert_eq!(decode(&flipped).expect_err("flipped").kind(), Kind::Corrupt);
    }

    #[test]
    fn vectors_become_position_deletes() {
        let folder = tempfile::tempdir().expect("a folder");
        let vectors = [("file:///a".to_string(), (0..70_000).collect()), ("file:///b".to_string(), (5..6).collect())];
        let path = rewrite(&vectors, folder.path()).expect("written");
        let file = std::fs::File::open(path).expect("there");
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 1 << 20).expect("Parquet");
        let rows: usize = reader.map(|batch| batch.expect("reads").num_rows()).sum();
        assert_eq!(rows, 70_001);
    }
}
