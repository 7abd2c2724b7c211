//! A request's body: small ones in memory, others as a stream that a blocking thread reads while it arrives.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::mpsc;
use twox_hash::XxHash3_128;

use super::problem::Problem;

/// Bodies up to this many bytes are read whole and decoded where they are.
pub const SMALL: usize = 64 << 10;
/// Chunks between the network and the decoder.
const CHUNKS: usize = 16;
/// How long the rest of a refused body is read and dropped.
const LINGER: Duration = Duration::from_secs(10);

/// A body being read: counted, held to its bounds and, for a key, hashed.
pub struct Incoming {
    stream: BodyDataStream,
    read: u64,
    most: u64,
    idle: Duration,
    hash: Option<XxHash3_128>,
}

/// The first part of a body.
pub enum Start {
    /// All of it.
    Whole(Bytes),
    /// More than [`SMALL`]: this much so far.
    Part(Bytes),
}

impl Incoming {
    /// Reads `body` up to `most` bytes; a sender may be silent for `idle`.
    pub fn new(body: Body, most: u64, idle: Duration) -> Self {
        Self { stream: body.into_data_stream(), read: 0, most, idle, hash: None }
    }

    /// Hashes what is read from now on.
    pub fn hashed(&mut self) {
        self.hash = Some(XxHash3_128::new());
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        let cut_off = |detail: String| {
            Problem::new(StatusCode::BAD_REQUEST, "body-cut-off", "The body ended early; nothing was kept", detail)
        };
        let next = tokio::time::timeout(self.idle, self.stream.next());
        let chunk = match next.await {
            Err(_) => return Err(cut_off(format!("nothing came for {} s; send it again", self.idle.as_secs()))),
            Ok(None) => return Ok(None),
            Ok(Some(Err(e))) => return Err(cut_off(format!("{e}; send it again"))),
            Ok(Some(Ok(chunk))) => chunk,
        };
        self.read += chunk.len() as u64;
        if self.read > self.most {
            return Err(Problem::too_large(self.most));
        }
        if let Some(hash) = &mut self.hash {
            hash.write(&chunk);
        }
        Ok(Some(chunk))
    }

    /// Reads until the end or until it is no longer small.
    pub async fn start(&mut self) -> Result<Start, Problem> {
        let Some(first) = self.chunk().await? else { return Ok(Start::Whole(Bytes::new())) };
        if first.len() > SMALL {
            return Ok(Start::Part(first));
        }
        let mut all: Option<BytesMut> = None;
        while let Some(chunk) = self.chunk().await? {
            let all = all.get_or_insert_with(|| BytesMut::from(first.as_ref()));
            all.extend_from_slice(&chunk);
            if all.len() > SMALL {
                return Ok(Start::Part(std::mem::take(all).freeze()));
            }
        }
        Ok(Start::Whole(all.map_or(first, BytesMut::freeze)))
    }

    /// Passes the rest on; returns why it ended early, if it did. The reader learns it too.
    pub async fn pass_on(&mut self, first: Bytes, to: mpsc::Sender<io::Result<Bytes>>) -> Result<(), Problem> {
        let mut next = Some(first);
        while let Some(chunk) = next {
            // A decoder that has given up reads no more; what it found is the answer.
            if to.send(Ok(chunk)).await.is_err() {
                return Ok(());
            }
            next = match self.chunk().await {
                Ok(next) => next,
                Err(problem) => {
                    let _ = to.send(Err(io::Error::from(io::ErrorKind::UnexpectedEof))).await;
                    return Err(problem);
                }
            };
        }
        Ok(())
    }

    /// Reads what is left, for its hash alone.
    pub async fn drain(&mut self) -> Result<(), Problem> {
        while self.chunk().await?.is_some() {}
        Ok(())
    }

    /// Reads and drops what still comes of a refused body, for a while. A connection that is closed with bytes unread is
    /// reset, and a sender that is still writing might never see the answer that tells it what to do.
    pub async fn linger(mut self) {
        let rest = async { while let Some(Ok(_)) = self.stream.next().await {} };
        let _ = tokio::time::timeout(LINGER, rest).await;
    }

    /// XXH3-128 of what was read.
    pub fn hash(&self) -> u128 {
        self.hash.as_ref().map_or(0, XxHash3_128::finish_128)
    }
}

/// The reading end, for a blocking thread.
pub struct Chunks {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    failed: bool,
}

/// A channel that is a reader on its far end.
pub fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Chunks) {
    let (sender, chunks) = mpsc::channel(CHUNKS);
    (sender, Chunks { chunks, current: Bytes::new(), failed: false })
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A body that was cut off never looks like one that ended, however often its reader asks.
        if self.failed {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.current = chunk.inspect_err(|_| self.failed = true)?,
            }
        }
        let n = self.current.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}
