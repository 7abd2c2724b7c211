//! A few fields out of many Avro records: what manifests and manifest lists are read with where only names matter.
//!
//! The `iceberg` crate reads a manifest into all it says, some 0.4 ms for the smallest; an expiry of ten thousand
//! snapshots reads twenty thousand such files. Here the schema in a file's head is compiled once into a [`Shape`], each
//! distinct one once, and records are walked over with all but the wanted fields skipped: a few microseconds a file.
//!
//! # Form
//! Object container files (Avro 1.11, "Object Container Files"): magic, metadata map with schema and codec, sync marker,
//! blocks of records. Fields are found by Iceberg's `field-id`, or by their name in files that have no ids. Codecs:
//! null, deflate, zstandard; for others the caller falls back to the crate. What is cut off or contradicts its schema is
//! an error, never a shorter answer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use serde_json::Value;

/// Bytes that a block may unpack to: a manifest's target size is 8 MiB.
const BLOCK: u64 = 1 << 30;
/// Schemas that are kept compiled.
const SHAPES: usize = 256;
/// How deep a schema may nest.
const DEEP: usize = 64;

/// A wanted field: the way to it as (field id, name), outermost first.
pub type Wanted = &'static [(i64, &'static str)];

/// A field's value; `Nothing` for null and for what the schema does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cell<'a> {
    #[default]
    Nothing,
    Number(i64),
    Text(&'a str),
}

/// Why a file was not read.
#[derive(Debug, PartialEq, Eq)]
pub enum Failed {
    /// A codec that this does not know; the crate may.
    Codec(String),
    /// It is no such file, or broken.
    Broken(&'static str),
}

type Answer<T> = Result<T, Failed>;

const CUT: Failed = Failed::Broken("it is cut off");

/// A type, as far as it takes to skip it, with the slots of what is wanted.
#[derive(Clone, Debug)]
enum Shape {
    Nothing,
    Byte,
    Varint,
    Sized(usize),
    Bytes,
    Array(Arc<Shape>),
    Map(Arc<Shape>),
    Union(Arc<[Shape]>),
    Record(Arc<[(Option<usize>, Shape)]>),
}

/// Reads files; remembers schemas.
#[derive(Debug)]
pub struct Decoder {
    wanted: &'static [Wanted],
    shapes: HashMap<Vec<u8>, Arc<Shape>>,
}

impl Decoder {
    /// A decoder of these fields; a row has a cell for each, in order.
    pub fn of(wanted: &'static [Wanted]) -> Decoder {
        Decoder { wanted, shapes: HashMap::new() }
    }

    /// Calls `each` with the cells of each record.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn rows(&mut self, file: &[u8], each: &mut dyn FnMut(&[Cell<'_>])) -> Answer<()> {
        let mut input = Input(file.strip_prefix(b"Obj\x01").ok_or(Failed::Broken("it is no Avro file"))?);
        let (mut schema, mut codec) = (None, "null");
        input.items(&mut |input| {
            let key = input.bytes()?;
            let value = input.bytes()?;
            match key {
                b"avro.schema" => schema = Some(value),
                b"avro.codec" => codec = std::str::from_utf8(value).unwrap_or("?"),
                _ => {}
            }
            Ok(())
        })?;
        let shape = self.shape(schema.ok_or(Failed::Broken("it has no schema"))?)?;
        let sync = input.take(16)?;
        while !input.0.is_empty() {
            let count = input.varint()?;
            let packed = input.bytes()?;
            let block = unpack(codec, packed)?;
            block_rows(&shape, &block, count, self.wanted.len(), each)?;
            if input.take(16)? != sync {
                return Err(Failed::Broken("a block's end is not where it should be"));
            }
        }
        Ok(())
    }

    fn shape(&mut self, schema: &[u8]) -> Answer<Arc<Shape>> {
        if let Some(known) = self.shapes.get(schema) {
            return Ok(known.clone());
        }
        let json: Value = serde_json::from_slice(schema).map_err(|_| Failed::Broken("its schema is no JSON"))?;
        let wanted: Vec<(usize, Wanted)> = self.wanted.iter().copied().enumerate().collect();
        let shape = Arc::new(Compiler::default().shape(&json, &wanted, DEEP)?);
        if self.shapes.len() >= SHAPES {
            self.shapes.clear();
        }
        self.shapes.insert(schema.to_vec(), shape.clone());
        Ok(shape)
    }
}

fn unpack<'a>(codec: &str, packed: &'a [u8]) -> Answer<Cow<'a, [u8]>> {
    let mut plain = Vec::new();
    let unpacked = match codec {
        "null" => return Ok(packed.into()),
        "deflate" => flate2::read::DeflateDecoder::new(packed).take(BLOCK).read_to_end(&mut plain),
        "zstandard" => zstd::Decoder::new(packed).and_then(|decoder| decoder.take(BLOCK).read_to_end(&mut plain)),
        other => return Err(Failed::Codec(other.to_string())),
    };
    unpacked.map_err(|_| Failed::Broken("a block does not unpack"))?;
    Ok(plain.into())
}

/// The records of a block.
fn block_rows(shape: &Shape, block: &[u8], count: i64, width: usize, each: &mut dyn FnMut(&[Cell<'_>])) -> Answer<()> {
    let mut input = Input(block);
    let mut cells = vec![Cell::Nothing; width];
    for _ in 0..count {
        cells.fill(Cell::Nothing);
        input.value(shape, None, &mut cells)?;
        each(&cells);
    }
    if input.0.is_empty() { Ok(()) } else { Err(Failed::Broken("a block is longer than it says")) }
}

#[derive(Default)]
struct Compiler {
    named: HashMap<String, Value>,
}

impl Compiler {
    fn shape(&mut self, schema: &Value, wanted: &[(usize, Wanted)], deep: usize) -> Answer<Shape> {
        let unknown = Failed::Broken("its schema has a type that is none");
        let Some(deep) = deep.checked_sub(1) else { return Err(Failed::Broken("its schema nests without end")) };
        match schema {
            Value::String(name) => match plain(name) {
                Some(shape) => Ok(shape),
                None => {
                    let named = self.named.get(name).cloned().ok_or(unknown)?;
                    self.shape(&named, wanted, deep)
                }
            },
            Value::Array(branches) => {
                let branches: Answer<Vec<Shape>> =
                    branches.iter().map(|branch| self.shape(branch, wanted, deep)).collect();
                Ok(Shape::Union(branches?.into()))
            }
            Value::Object(_) => self.complex(schema, wanted, deep),
            _ => Err(unknown),
        }
    }

    fn complex(&mut self, schema: &Value, wanted: &[(usize, Wanted)], deep: usize) -> Answer<Shape> {
        let kind = schema.get("type").unwrap_or(&Value::Null);
        if let Some(name) = schema.get("name").and_then(Value::as_str) {
            self.named.insert(name.to_string(), schema.clone());
        }
        match kind.as_str() {
            Some("record") => self.record(schema, wanted, deep),
            Some("enum") => Ok(Shape::Varint),
            Some("fixed") => {
                let size = schema.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
                Ok(Shape::Sized(size.ok_or(Failed::Broken("a fixed type without a size"))?))
            }
            Some("array") => Ok(Shape::Array(Arc::new(self.shape(&schema["items"], &[], deep)?))),
            Some("map") => Ok(Shape::Map(Arc::new(self.shape(&schema["values"], &[], deep)?))),
            _ => self.shape(kind, wanted, deep),
        }
    }

    fn record(&mut self, schema: &Value, wanted: &[(usize, Wanted)], deep: usize) -> Answer<Shape> {
        let fields = schema.get("fields").and_then(Value::as_array).ok_or(Failed::Broken("a record without fields"))?;
        let mut shapes = Vec::with_capacity(fields.len());
        for field in fields {
            let (id, name) = (field.get("field-id").and_then(Value::as_i64), field.get("name").and_then(Value::as_str));
            let is = |step: &(i64, &str)| id.map_or(name == Some(step.1), |id| id == step.0);
            let here = wanted.iter().find(|(_, way)| way.len() == 1 && is(&way[0])).map(|(slot, _)| *slot);
            let below = wanted.iter().filter(|(_, way)| way.len() > 1 && is(&way[0]));
            let below: Vec<(usize, Wanted)> = below.map(|(slot, way)| (*slot, &way[1..])).collect();
            shapes.push((here, self.shape(field.get("type").unwrap_or(&Value::Null), &below, deep)?));
        }
        Ok(Shape::Record(shapes.into()))
    }
}

fn plain(name: &str) -> Option<Shape> {
    Some(match name {
        "null" => Shape::Nothing,
        "boolean" => Shape::Byte,
        "int" | "long" => Shape::Varint,
        "float" => Shape::Sized(4),
        "double" => Shape::Sized(8),
        "bytes" | "string" => Shape::Bytes,
        _ => return None,
    })
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Answer<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(CUT)?;
        self.0 = rest;
        Ok(head)
    }

    fn varint(&mut self) -> Answer<i64> {
        let mut value = 0_u64;
        for (i, &byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.0 = &self.0[i + 1..];
                return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
            }
        }
        Err(CUT)
    }

    fn bytes(&mut self) -> Answer<&'a [u8]> {
        let len = usize::try_from(self.varint()?).map_err(|_| CUT)?;
        self.take(len)
    }

    /// The items of an array or a map.
    fn items(&mut self, item: &mut dyn FnMut(&mut Input<'a>) -> Answer<()>) -> Answer<()> {
        loop {
            let mut count = self.varint()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.varint()?;
                count = count.checked_neg().ok_or(CUT)?;
            }
            for _ in 0..count {
                // Items of no bytes at all would let a short file count for ever.
                if self.0.is_empty() {
                    return Err(CUT);
                }
                item(self)?;
            }
        }
    }

    /// A value: into its slot if it has one, and past it.
    fn value(&mut self, shape: &Shape, slot: Option<usize>, cells: &mut [Cell<'a>]) -> Answer<()> {
        match shape {
            Shape::Nothing => {}
            Shape::Byte => drop(self.take(1)?),
            Shape::Sized(len) => drop(self.take(*len)?),
            Shape::Varint => {
                let value = self.varint()?;
                put(cells, slot, || Ok(Cell::Number(value)))?;
            }
            Shape::Bytes => {
                let bytes = self.bytes()?;
                let text = || std::str::from_utf8(bytes).map_err(|_| Failed::Broken("a name is not UTF-8"));
                put(cells, slot, || text().map(Cell::Text))?;
            }
            Shape::Array(item) => self.items(&mut |input| input.value(item, None, &mut []))?,
            Shape::Map(value) => self.items(&mut |input| {
                input.bytes()?;
                input.value(value, None, &mut [])
            })?,
            Shape::Union(branches) => {
                let branch = usize::try_from(self.varint()?).ok().and_then(|branch| branches.get(branch));
                self.value(branch.ok_or(Failed::Broken("a union has no such branch"))?, slot, cells)?;
            }
            Shape::Record(fields) => {
                for (slot, shape) in fields.iter() {
                    self.value(shape, *slot, cells)?;
                }
            }
        }
        Ok(())
    }
}

fn put<'a>(cells: &mut [Cell<'a>], slot: Option<usize>, cell: impl FnOnce() -> Answer<Cell<'a>>) -> Answer<()> {
    if let Some(held) = slot.and_then(|slot| cells.get_mut(slot)) {
        *held = cell()?;
    }
    Ok(())
}
