//! Arrow IPC, as a file (`ARROW1`) or a stream. A file holds a stream behind its magic, in order, so both are read the
//! same way, from front to end; the stream's own end marker tells a whole source from one that was cut off.

use std::collections::VecDeque;
use std::io::{BufReader, Read};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::arrow_message::Messages;
use super::coerce::Coercion;
use super::input::Input;
use super::{Batches, Options};
use crate::contract::Contract;
use crate::error::{Error, Kind, Result};
use crate::flow::Admitted;

type Source = BufReader<Box<dyn Read + Send>>;

/// Reads a stream's batches, cut to size.
pub struct ArrowIpc {
    reader: Messages<Source>,
    coercion: Coercion,
    waiting: VecDeque<RecordBatch>,
    most: usize,
}

const MAGIC: &[u8] = b"ARROW1\0\0";

fn first_block(stream: &mut dyn Read) -> Result<Vec<u8>> {
    let mut block = Vec::with_capacity(MAGIC.len());
    stream.take(MAGIC.len() as u64).read_to_end(&mut block)?;
    Ok(block)
}

impl ArrowIpc {
    /// Over a source; reads its schema.
    pub fn new(contract: Arc<Contract>, input: Input, options: &Options) -> Result<Self> {
        let mut stream = input.into_stream();
        let mut head = first_block(&mut stream)?;
        if head == MAGIC {
            // Writers fill up to their alignment, 8 to 64 bytes, with zeros; a message never begins with them.
            for _ in 0..8 {
                head = first_block(&mut stream)?;
                if head.iter().any(|&b| b != 0) {
                    break;
                }
            }
        }
        let stream: Box<dyn Read + Send> = Box::new(std::io::Cursor::new(head).chain(stream));
        let invalid = |error| {
            let message = "not an Arrow IPC file or stream (or one that was cut off at once); write it again";
            Error::new(Kind::Invalid, message).because(error)
        };
        let reader = Messages::open(BufReader::new(stream)).map_err(invalid)?;
        let coercion = Coercion::new(contract, reader.schema(), options)?;
        Ok(Self { reader, coercion, waiting: VecDeque::new(), most: options.batch_records })
    }

    fn cut(&mut self, batch: &RecordBatch) {
        let rows = batch.num_rows();
        let width = batch.get_array_memory_size() / rows.max(1);
        let most = ((16 << 20) / width.max(1)).clamp(1, self.most);
        let starts = (0..rows).step_by(most);
        self.waiting.extend(starts.map(|start| batch.slice(start, most.min(rows - start))));
    }
}

impl Batches for ArrowIpc {
    fn next(&mut self) -> Result<Option<Admitted>> {
        loop {
            if let Some(batch) = self.waiting.pop_front() {
                return self.coercion.admit(&batch).map(Some);
            }
            match self.reader.next() {
                Ok(None) => return Ok(None),
                Ok(Some(batch)) => {
                    let batch = self.coercion.project(&batch)?;
                    self.cut(&batch);
                }
                Err(error) => {
                    let message = "the Arrow stream is damaged or was cut off; write it again";
                    let error = Error::new(Kind::Invalid, message).because(error);
                    return Err(error.with("record", self.coercion.records()));
                }
            }
        }
    }
}
