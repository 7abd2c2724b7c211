//! The footer of a Parquet file: two reads at its end, none of its data.

use laked_catalog::store::Store;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::error::{Error, Kind, Result};

/// Length and magic number after the metadata.
const TAIL: u64 = 8;

/// Reads a file's footer.
///
/// # Errors
/// `Corrupt` if the file is no Parquet file, or cut off; storage errors.
pub fn footer(store: &Store, location: &str) -> Result<ParquetMetaData> {
    let corrupt = |what: &str| Error::new(Kind::Corrupt, what.to_string()).with("file", location);
    let file = store.open(location)?;
    let end = file.len().checked_sub(TAIL).ok_or_else(|| corrupt("the file is too short to be Parquet"))?;
    let mut tail = [0; TAIL as usize];
    file.read_at(end, &mut tail)?;
    let [a, b, c, d, b'P', b'A', b'R', b'1'] = tail else {
        return Err(corrupt("not a Parquet file: its magic number is missing"));
    };
    let size = u32::from_le_bytes([a, b, c, d]);
    let start =
        end.checked_sub(u64::from(size)).ok_or_else(|| corrupt("the Parquet footer is longer than its file"))?;
    let mut bytes = vec![0; size as usize];
    let read = file.read_at(start, &mut bytes)?;
    ParquetMetaDataReader::decode_metadata(&bytes[..read])
        .map_err(|error| corrupt("the Parquet footer cannot be read").because(error))
}
