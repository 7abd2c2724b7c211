//! The frame: the one unit that is written to, and read from, a spool's files.
//!
//! ```text
//! magic    8 bytes   "LAKEDFR1"
//! header   u32 LE    length of the header
//! payload  u32 LE    length of the payload
//! hash     16 bytes  XXH3-128, LE, over both lengths, header and payload
//! header             JSON, a [`Header`](super::Header)
//! payload            an Arrow IPC stream of one batch, or nothing
//! ```
//! A frame that ends early, or whose hash differs, was never acknowledged if nothing whole follows it (*torn*);
//! if a whole frame follows, something acknowledged was damaged (*corrupt*).

use std::io;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use laked_catalog::store::DiskRead;
use serde::Serialize;
use serde::de::DeserializeOwned;
use twox_hash::XxHash3_128;

use crate::error::{Error, Kind, Result};

const MAGIC: &[u8; 8] = b"LAKEDFR1";
const PREFIX: usize = 32;
/// No frame is longer: a group stays far below, and a length beyond it is damage, not a reason to allocate.
const LONGEST: u64 = 1 << 30;

/// A frame as read.
#[derive(Debug)]
pub struct Frame {
    header: Bytes,
    payload: Bytes,
    /// Where the next one begins.
    pub next: u64,
}

/// What stands at an offset.
#[derive(Debug)]
pub enum Found {
    /// A whole frame.
    Frame(Frame),
    /// The end of the file.
    End,
    /// Bytes that are no whole frame.
    Broken,
}

impl Frame {
    /// The header.
    pub fn header<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.header)
            .map_err(|e| Error::new(Kind::Corrupt, "a spool frame's header cannot be read").because(e))
    }

    /// Bytes of the payload.
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// The batch, if the frame holds one. Its buffers are slices of the frame.
    pub fn batch(self) -> Result<Option<RecordBatch>> {
        if self.payload.is_empty() {
            return Ok(None);
        }
        let mut decoder = StreamDecoder::new();
        let mut buffer = Buffer::from(self.payload);
        let batch = decoder
            .decode(&mut buffer)
            .map_err(|e| Error::new(Kind::Corrupt, "a spool frame's batch cannot be read").because(e))?;
        batch.ok_or_else(|| Error::new(Kind::Corrupt, "a spool frame's batch is missing")).map(Some)
    }
}

/// Appends a frame to `out`.
pub fn write(out: &mut Vec<u8>, header: &impl Serialize, batch: Option<&RecordBatch>) -> Result<()> {
    let start = out.len();
    let internal = |e: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(Kind::Internal, "a spool frame cannot be written").because(e)
    };
    out.extend_from_slice(&[0; PREFIX]);
    serde_json::to_writer(&mut *out, header).map_err(|e| internal(e.into()))?;
    let payload = out.len();
    if let Some(batch) = batch {
        let mut writer = StreamWriter::try_new(&mut *out, batch.schema_ref()).map_err(|e| internal(e.into()))?;
        writer.write(batch).and_then(|()| writer.finish()).map_err(|e| internal(e.into()))?;
    }
    let too_long = |_| Error::new(Kind::Invalid, "a request's records are too many for one frame: send smaller bodies");
    let header_len = u32::try_from(payload - start - PREFIX).map_err(too_long)?;
    let payload_len = u32::try_from(out.len() - payload).map_err(too_long)?;
    let frame = &mut out[start..];
    frame[..8].copy_from_slice(MAGIC);
    frame[8..12].copy_from_slice(&header_len.to_le_bytes());
    frame[12..16].copy_from_slice(&payload_len.to_le_bytes());
    let hash = hash(&frame[8..16], &frame[PREFIX..]);
    frame[16..32].copy_from_slice(&hash.to_le_bytes());
    Ok(())
}

/// Reads what stands at `offset` of a file of which `end` bytes count.
pub fn read(file: &dyn DiskRead, offset: u64, end: u64) -> io::Result<Found> {
    if offset >= end {
        return Ok(Found::End);
    }
    let mut prefix = [0; PREFIX];
    if end - offset < PREFIX as u64 || read_full(file, offset, &mut prefix)? < PREFIX || &prefix[..8] != MAGIC {
        return Ok(Found::Broken);
    }
    let header_len = u64::from(u32::from_le_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]));
    let payload_len = u64::from(u32::from_le_bytes([prefix[12], prefix[13], prefix[14], prefix[15]]));
    let len = header_len + payload_len;
    if len > LONGEST || offset + PREFIX as u64 + len > end {
        return Ok(Found::Broken);
    }
    let mut body = vec![0; len as usize];
    if read_full(file, offset + PREFIX as u64, &mut body)? < body.len() {
        return Ok(Found::Broken);
    }
    if hash(&prefix[8..16], &body).to_le_bytes() != prefix[16..32] {
        return Ok(Found::Broken);
    }
    let mut header = Bytes::from(body);
    let payload = header.split_off(header_len as usize);
    Ok(Found::Frame(Frame { header, payload, next: offset + PREFIX as u64 + len }))
}

/// Whether a whole frame stands anywhere after `offset`: then what is broken at `offset` is no torn tail.
pub fn any_after(file: &dyn DiskRead, offset: u64, end: u64) -> io::Result<bool> {
    const STEP: usize = 1 << 20;
    let mut at = offset + 1;
    let mut buffer = vec![0; STEP];
    while at < end {
        let read = read_full(file, at, &mut buffer)?;
        for hit in memchr::memmem::find_iter(&buffer[..read], MAGIC) {
            if matches!(self::read(file, at + hit as u64, end)?, Found::Frame(_)) {
                return Ok(true);
            }
        }
        if read < STEP {
            break;
        }
        at += (STEP - MAGIC.len()) as u64;
    }
    Ok(false)
}

fn read_full(file: &dyn DiskRead, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(offset + filled as u64, &mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

fn hash(lengths: &[u8], body: &[u8]) -> u128 {
    let mut hash = XxHash3_128::new();
    hash.write(lengths);
    hash.write(body);
    hash.finish_128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use std::sync::Arc;

    struct Memory(Vec<u8>);

    impl DiskRead for Memory {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            let n = rest.len().min(buffer.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        }
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
    }

    fn two() -> (Vec<u8>, u64) {
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from(vec![Some(1), None])) as _),
            ("s", Arc::new(StringArray::from(vec!["a", "b"])) as _),
        ])
        .unwrap();
        let mut out = Vec::new();
        write(&mut out, &"first", Some(&batch)).unwrap();
        let second = out.len() as u64;
        write(&mut out, &"second", None).unwrap();
        (out, second)
    }

    #[test]
    fn frames_come_back_as_written() {
        let (out, second) = two();
        let file = Memory(out);
        let Found::Frame(frame) = read(&file, 0, file.len()).unwrap() else { panic!("no frame") };
        assert_eq!(frame.header::<String>().unwrap(), "first");
        assert_eq!(frame.next, second);
        assert_eq!(frame.batch().unwrap().unwrap().num_rows(), 2);
        let Found::Frame(frame) = read(&file, second, file.len()).unwrap() else { panic!("no frame") };
        assert_eq!(frame.header::<String>().unwrap(), "second");
        assert!(matches!(read(&file, frame.next, file.len()).unwrap(), Found::End));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_seen() {
        let (out, second) = two();
        for cut in 1..second {
            let file = Memory(out[..cut as usize].to_vec());
            assert!(matches!(read(&file, 0, cut).unwrap(), Found::Broken), "cut at {cut}");
            assert!(!any_after(&file, 0, cut).unwrap());
        }
        for at in 0..second as usize {
            let mut bytes = out.clone();
            bytes[at] ^= 1;
            let file = Memory(bytes);
            assert!(matches!(read(&file, 0, file.len()).unwrap(), Found::Broken), "flipped {at}");
            assert!(any_after(&file, 0, file.len()).unwrap(), "the second frame follows");
        }
    }
}
