//! Arrow IPC's encapsulated messages, read from a stream one at a time, none believed before its bytes are there.
//!
//! On the wire: `FF FF FF FF`, the metadata's length (i32, little endian), the metadata (a flatbuffer that names the
//! body's length), the body (Arrow columnar format, "Encapsulated message format"). The `arrow` crate's stream reader
//! allocates what a message says of itself, so a few bytes could ask for a terabyte and end the process: an allocation
//! that fails cannot be caught. Here lengths are held to [`MOST`], and memory grows with what has been read. The
//! batches themselves are decoded by the crate, from the message's own bytes, without a copy.

use std::io::Read;

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::{Message, RecordBatch as BatchHeader, root_as_message};
use arrow::record_batch::RecordBatch;

/// Bytes of a message at most, as they are and unpacked.
const MOST: u64 = 256 << 20;
const CONTINUATION: [u8; 4] = [0xff; 4];

/// A stream's schema and its batches.
pub struct Messages<R> {
    source: R,
    decoder: StreamDecoder,
    schema: SchemaRef,
}

fn broken(why: &str) -> ArrowError {
    ArrowError::IpcError(why.to_owned())
}

impl<R: Read> Messages<R> {
    /// Over a stream; reads its schema.
    pub fn open(mut source: R) -> Result<Self, ArrowError> {
        let bytes = read_message(&mut source)?.ok_or_else(|| broken("the stream has no schema"))?;
        let (message, _) = parts(&bytes)?;
        let schema = message.header_as_schema().ok_or_else(|| broken("the stream does not begin with its schema"))?;
        let schema = fb_to_schema(schema).into();
        let mut decoder = StreamDecoder::new();
        decoder.decode(&mut Buffer::from_vec(bytes))?;
        Ok(Self { source, decoder, schema })
    }

    /// What its columns are.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next batch; none at the stream's end.
    pub fn next(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        while let Some(bytes) = read_message(&mut self.source)? {
            let (message, body) = parts(&bytes)?;
            check_unpacked(&message, body)?;
            if let Some(batch) = self.decoder.decode(&mut Buffer::from_vec(bytes))? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

/// A message with its prefix; none at the end, which a marker or the stream's own end tells.
fn read_message(source: &mut impl Read) -> Result<Option<Vec<u8>>, ArrowError> {
    let mut bytes = Vec::with_capacity(64 << 10);
    if source.take(4).read_to_end(&mut bytes)? < 4 {
        return if bytes.is_empty() { Ok(None) } else { Err(broken("the stream ends within a message's length")) };
    }
    if bytes == CONTINUATION {
        extend(source, 4, &mut bytes)?;
    }
    let length = match bytes.last_chunk() {
        Some(length) => u64::try_from(i32::from_le_bytes(*length)).map_err(|_| broken("a length below zero"))?,
        None => 0,
    };
    if length == 0 {
        return Ok(None);
    }
    extend(source, length, &mut bytes)?;
    let body = parts(&bytes)?.0.bodyLength();
    extend(source, u64::try_from(body).map_err(|_| broken("a body's length below zero"))?, &mut bytes)?;
    Ok(Some(bytes))
}

/// Reads exactly `length` bytes more.
fn extend(source: &mut impl Read, length: u64, bytes: &mut Vec<u8>) -> Result<(), ArrowError> {
    if length > MOST {
        let why = format!("a message of {length} bytes is over the limit of {MOST}: write smaller record batches");
        return Err(broken(&why));
    }
    let read = source.take(length).read_to_end(bytes)?;
    if (read as u64) < length { Err(broken("the stream ends within a message")) } else { Ok(()) }
}

/// A message's metadata and what there is of its body.
fn parts(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), ArrowError> {
    let prefix = if bytes.starts_with(&CONTINUATION) { 8 } else { 4 };
    let (head, rest) = bytes.split_at_checked(prefix).ok_or_else(|| broken("a message without a length"))?;
    let length = head.last_chunk().map_or(0, |length| u32::from_le_bytes(*length)) as usize;
    let (metadata, body) = rest.split_at_checked(length).ok_or_else(|| broken("a message without its metadata"))?;
    let message = root_as_message(metadata).map_err(|error| ArrowError::ParseError(error.to_string()))?;
    Ok((message, body))
}

/// Holds what a compressed body says it unpacks to, a length before each buffer, to the limit.
fn check_unpacked(message: &Message<'_>, body: &[u8]) -> Result<(), ArrowError> {
    let dictionary = || message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
    let Some(batch) = message.header_as_record_batch().or_else(dictionary) else { return Ok(()) };
    if batch.compression().is_none() {
        return Ok(());
    }
    match unpacked(&batch, body) {
        Some(total) if total <= MOST => Ok(()),
        Some(total) => Err(broken(&format!("a batch that unpacks to {total} bytes is over the limit of {MOST}"))),
        None => Err(broken("a compressed buffer's length is wrong")),
    }
}

fn unpacked(batch: &BatchHeader<'_>, body: &[u8]) -> Option<u64> {
    let buffers = batch.buffers()?;
    buffers.iter().filter(|buffer| buffer.length() > 0).try_fold(0_u64, |total, buffer| {
        let length = body.get(usize::try_from(buffer.offset()).ok()?..)?.first_chunk()?;
        // -1 says that the buffer is not compressed.
        total.checked_add(u64::try_from(i64::from_le_bytes(*length).max(0)).ok()?)
    })
}
