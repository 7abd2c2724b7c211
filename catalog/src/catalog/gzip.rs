//! Metadata files, gzipped if the table's `write.metadata.compression-codec` says so.
//!
//! The name says what is inside, as other engines expect: `00001-<uuid>.gz.metadata.json`. A file is told by its first
//! bytes when it is read, whatever its name.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use iceberg::spec::TableMetadata;

use crate::document::Document;
use crate::error::{Error, Kind, Result};

const PROPERTY: &str = "write.metadata.compression-codec";

/// What stands before `.metadata.json` in the name of a gzipped file.
pub(super) const MIDDLE: &str = ".gz";

/// The largest metadata that is unpacked, in bytes: a few kilobytes of gzip can hold gigabytes.
const UNPACKED: u64 = 2 << 30;

/// Whether the table wants its metadata gzipped.
///
/// # Errors
/// `Invalid` for a codec there is none of.
pub(super) fn is_asked(metadata: &TableMetadata) -> Result<bool> {
    match metadata.properties().get(PROPERTY).map(|codec| codec.to_ascii_lowercase()).as_deref() {
        None | Some("" | "none" | "uncompressed") => Ok(false),
        Some("gzip") => Ok(true),
        Some(_) => Err(Error::new(Kind::Invalid, format!("{PROPERTY} is 'none' or 'gzip'"))),
    }
}

/// Writes metadata as its location's name says.
///
/// # Errors
/// Storage errors.
pub(super) fn write(file: &mut impl Write, document: &Document, location: &str) -> Result<()> {
    if !location.ends_with(".gz.metadata.json") {
        return Ok(document.write_to(file)?);
    }
    let mut packed = GzEncoder::new(file, Compression::default());
    document.write_to(&mut packed)?;
    packed.finish()?;
    Ok(())
}

/// A metadata file's bytes, as its location's name says.
///
/// # Errors
/// None but of memory.
pub(super) fn bytes(document: &Document, location: &str) -> Result<Bytes> {
    let mut bytes = Vec::with_capacity(document.len());
    write(&mut bytes, document, location)?;
    Ok(bytes.into())
}

/// Unpacks a metadata file if it is packed.
///
/// # Errors
/// If it is damaged, or too large.
pub(super) fn unpack(bytes: Bytes) -> std::io::Result<Bytes> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut text = Vec::new();
    MultiGzDecoder::new(bytes.as_ref()).take(UNPACKED + 1).read_to_end(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= UNPACKED) {
        return Ok(text.into());
    }
    Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "metadata of more than 2 GiB"))
}
