//! Takes the packing off a stream of bytes, and holds what comes out to a limit.
//!
//! Nothing here is larger than one buffer, so a bomb costs time, not memory: the limits of [`Options`]
//! end it. A Zstandard frame may ask for a window of 32 MiB at most. Errors of the packing are the source's
//! (`Invalid`); errors of reading it keep the kind they came with.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::Options;
use crate::error::{Error, Kind, Result};
use crate::flow::Packing;

/// The largest window of a Zstandard frame, as a power of two.
const WINDOW_LOG: u32 = 25;
const BUFFER: usize = 128 << 10;
/// A ratio is held against a source only beyond this many bytes: small texts pack well by nature.
const RATIO_FROM: u64 = 1 << 20;

/// Counts what was read, and remembers that reading itself failed.
struct Counted {
    inner: Box<dyn Read + Send>,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Tally {
    bytes: AtomicU64,
    failed: AtomicBool,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(read) => {
                self.tally.bytes.fetch_add(read as u64, Ordering::Relaxed);
                Ok(read)
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::Interrupted {
                    self.tally.failed.store(true, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }
}

/// The unpacked bytes of a source.
pub struct Unpacked {
    reader: Box<dyn Read + Send>,
    packing: Packing,
    tally: Arc<Tally>,
    out: u64,
    most: u64,
    ratio: u64,
}

impl Unpacked {
    /// Takes `packing` off `input`.
    pub fn new(input: Box<dyn Read + Send>, packing: Packing, options: &Options) -> Result<Self> {
        let tally = Arc::new(Tally::default());
        let counted = Counted { inner: input, tally: tally.clone() };
        let reader: Box<dyn Read + Send> = match packing {
            Packing::Plain => Box::new(counted),
            Packing::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, counted))),
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(counted)?;
                decoder.window_log_max(WINDOW_LOG)?;
                Box::new(decoder)
            }
        };
        let most = options.max_expanded.unwrap_or(u64::MAX);
        let ratio = if packing == Packing::Plain { None } else { options.max_ratio };
        Ok(Self { reader, packing, tally, out: 0, most, ratio: ratio.map_or(u64::MAX, u64::from) })
    }

    /// Fills `buffer` as far as one read does; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = loop {
            match self.reader.read(buffer) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        };
        self.out += read as u64;
        self.within_limits()?;
        Ok(read)
    }

    fn within_limits(&self) -> Result<()> {
        let taken = self.tally.bytes.load(Ordering::Relaxed);
        if self.out > self.most {
            let message = format!("the content is longer than {} bytes, the limit here; send it in parts", self.most);
            return Err(Error::new(Kind::Invalid, message));
        }
        if self.out > RATIO_FROM && self.out / self.ratio > taken {
            let message =
                format!("the content expands more than {} times, the limit here; send it unpacked", self.ratio);
            return Err(Error::new(Kind::Invalid, message).with("packed", taken).with("unpacked", self.out));
        }
        Ok(())
    }

    fn broken(&self, error: io::Error) -> Error {
        if self.tally.failed.load(Ordering::Relaxed) {
            return Error::from(error).with("offset", self.tally.bytes.load(Ordering::Relaxed));
        }
        let name = if self.packing == Packing::Gzip { "gzip" } else { "Zstandard" };
        let message = if error.kind() == io::ErrorKind::UnexpectedEof {
            format!("the {name} data ends early: it was cut off; send the whole file again")
        } else {
            format!("not valid {name} data; test it with `{}`", if name == "gzip" { "gzip -t" } else { "zstd -t" })
        };
        let taken = self.tally.bytes.load(Ordering::Relaxed);
        Error::new(Kind::Invalid, message).with("packed bytes read", taken).with("unpacked", self.out).because(error)
    }
}
