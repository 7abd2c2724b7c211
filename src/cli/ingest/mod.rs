//! `lakectl ingest`: sends files or standard input to a daemon, or takes them into a lake nobody serves.
//!
//! Lines of text are unpacked here and cut between records into bodies of some MiB ([`cut`]), so that the daemon
//! answers soon and memory is bounded; a binary file or a JSON array is one body, streamed. Each body's idempotency key
//! comes from the content up to its end, so that a call repeated after a failure adds nothing twice ([`send`]). A lake
//! takes the same bodies under the same keys, so that this holds across both ways too.

mod cut;
mod send;
mod way;

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use iceberg::TableIdent;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use laked_catalog::system::System;
use serde_json::json;

pub use self::send::{Answer, Sender};

use super::{Output, output};
use crate::config::Settings;
use crate::contract::{self, Contract};
use crate::daemon::Lake;
use crate::error::{Error, Kind, Result};
use crate::flow::{Format, Packing};
use crate::ingest::decode::of_name;
use crate::read::Source;
use crate::read::remote::Remote;
use crate::read::source::ident_of;

/// Bytes of standard input that tell its form.
const LOOK: u64 = 4096;

/// Send files into a table.
#[derive(Args, Debug)]
pub struct Ingest {
    /// The table, as namespace.table.
    table: String,
    /// Files: .ndjson .jsonl .json .csv (also .gz, .zst) .parquet .arrow; `-` is standard input.
    #[arg(required = true)]
    files: Vec<String>,
    /// Form of the data, where the name or its beginning does not say: as a file's ending, ndjson, csv.gz, parquet.
    #[arg(long)]
    format: Option<String>,
    /// Take the content in even if it came today already; otherwise the same file sent twice is taken once.
    #[arg(long)]
    again: bool,
    /// Return only once the rows can be read, not merely once they are safe. With --lake it is always so.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    opening: Opening,
}

/// Who takes it.
enum Target {
    Daemon(Remote),
    Lake(Box<Lake>),
}

/// Something to send.
struct Piece {
    name: String,
    format: Format,
    packing: Packing,
    /// Bytes of standard input that were looked at already.
    begun: Vec<u8>,
}

impl Ingest {
    /// Sends each file and reports what was accepted and refused.
    ///
    /// # Errors
    /// `Invalid` for what cannot be read or is refused whole; `Unavailable` if the daemon does not answer.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let ident = ident_of(&self.table)?;
        let pieces = self.files.iter().map(|file| self.piece(file)).collect::<Result<Vec<Piece>>>()?;
        let target = match source {
            Source::Daemon(remote) => Target::Daemon(remote.clone()),
            Source::Lake(folder) => Target::Lake(Box::new(self.opening.open(folder, &ident)?)),
        };
        let salt = if self.again { System::real().ids.uuid().as_bytes().to_vec() } else { Vec::new() };
        let mut values = Vec::new();
        for piece in &pieces {
            let sender = match &target {
                Target::Daemon(remote) => Sender::by_http(remote, &ident, &piece.name),
                Target::Lake(lake) => Sender::into_lake(lake, &ident, &piece.name),
            };
            let answer = piece.send(&sender, &salt, self.wait).map_err(|error| error.with("file", &piece.name))?;
            match form {
                Output::Json => values.push(json!({
                    "file": piece.name, "accepted": answer.accepted, "rejected": answer.rejected,
                    "reasons": answer.reasons,
                })),
                Output::Text => report(&piece.name, &self.table, &answer),
            }
        }
        if let Target::Lake(lake) = &target {
            settle(lake, &ident)?;
        }
        if form == Output::Json { output::json(&values) } else { Ok(()) }
    }

    fn piece(&self, file: &str) -> Result<Piece> {
        let mut begun = Vec::new();
        let (format, packing) = match (&self.format, file) {
            (Some(format), _) => of_name(&format!("standard.{}", format.trim_start_matches('.')))?,
            (None, "-") => {
                io::stdin().take(LOOK).read_to_end(&mut begun)?;
                (told(&begun)?, Packing::Plain)
            }
            (None, name) => of_name(name)?,
        };
        Ok(Piece { name: file.to_string(), format, packing, begun })
    }
}

/// What the first bytes tell of the form.
fn told(begun: &[u8]) -> Result<Format> {
    let text = begun.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begun).trim_ascii_start();
    Ok(match text {
        [b'{', ..] => Format::Ndjson,
        [b'[', ..] => Format::Json,
        [b'P', b'A', b'R', b'1', ..] => Format::Parquet,
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] | [0xff, 0xff, 0xff, 0xff, ..] => Format::Arrow,
        text if text.contains(&b',') && std::str::from_utf8(&text[..text.len().min(4)]).is_ok() => Format::Csv,
        [] => Format::Ndjson,
        _ => {
            let message = "say what standard input holds: --format ndjson, json, csv, parquet, arrow, or csv.gz";
            return Err(Error::new(Kind::Invalid, message));
        }
    })
}

/// How a lake that no daemon serves is opened.
#[derive(Args, Debug, Default)]
pub struct Opening {
    /// With --lake: the folder of contracts that its daemon is given [default: the shipped ones].
    #[arg(long, value_name = "DIR", env = "LAKED_SCHEMAS")]
    schemas: Option<PathBuf>,
}

impl Opening {
    /// Opens the lake, unless its contracts have no such table: opening it makes the tables that they have.
    ///
    /// # Errors
    /// `NotFound` without that contract; `Conflict` if a daemon serves the lake; those of opening a lake.
    pub fn open(&self, folder: &Path, table: &TableIdent) -> Result<Lake> {
        if self.contract(table)?.is_none() {
            let message = format!("there is no contract for {table}; give --schemas the folder that has it");
            return Err(Error::new(Kind::NotFound, message));
        }
        let schemas = self.schemas.clone().unwrap_or_default();
        Lake::open(Settings { lake: folder.to_owned(), schemas, ..Settings::default() }, System::real())
    }

    /// The contract of a table, if there is one.
    ///
    /// # Errors
    /// `Invalid` for contracts that cannot be read.
    pub fn contract(&self, table: &TableIdent) -> Result<Option<Arc<Contract>>> {
        let contracts = match &self.schemas {
            Some(schemas) if !schemas.as_os_str().is_empty() => {
                contract::load_dir(System::real().disk.as_ref(), schemas)?
            }
            _ => contract::shipped(),
        };
        Ok(contracts.into_iter().find(|contract| contract.ident() == table).map(Arc::new))
    }
}

/// Commits what was taken in without waiting for its age, and makes sure that it is there.
///
/// # Errors
/// Why it could not be committed; it is durable, and the next to open the lake commits it.
pub fn settle(lake: &Lake, table: &TableIdent) -> Result<()> {
    lake.drain();
    lake.settled(&format!("{}.{}", table.namespace().join("."), table.name()))
}

impl Piece {
    fn open(&self) -> Result<Box<dyn Read + Send>> {
        Ok(match self.name.as_str() {
            "-" => Box::new(io::Cursor::new(self.begun.clone()).chain(io::stdin())),
            name => Box::new(open_file(name)?),
        })
    }

    fn unpacked(&self, packed: impl Read + Send + 'static) -> Result<Box<dyn Read + Send>> {
        Ok(match self.packing {
            Packing::Plain => Box::new(packed),
            Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            Packing::Zstd => Box::new(zstd::Decoder::new(packed)?),
        })
    }

    fn send(&self, sender: &Sender<'_>, salt: &[u8], wait: bool) -> Result<Answer> {
        let bar = self.progress();
        let answer = match self.format {
            Format::Ndjson | Format::Csv => {
                let reader = self.unpacked(bar.wrap_read(self.open()?))?;
                sender.lines(self.format, salt, BufReader::with_capacity(1 << 20, reader), wait)
            }
            _ => self.whole().and_then(|file| sender.whole(self.format, salt, &file, &bar, wait)),
        };
        bar.finish_and_clear();
        answer
    }

    /// An unpacked file that can be read twice: for its key, then for its body.
    fn whole(&self) -> Result<File> {
        if self.name != "-" && self.packing == Packing::Plain {
            return open_file(&self.name);
        }
        let mut copy = tempfile::tempfile()?;
        io::copy(&mut self.unpacked(self.open()?)?, &mut copy)?;
        copy.rewind()?;
        Ok(copy)
    }

    /// A bar on a terminal's standard error; elsewhere nothing is drawn.
    fn progress(&self) -> ProgressBar {
        if !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let len = File::open(&self.name).and_then(|file| file.metadata()).map(|metadata| metadata.len()).ok();
        let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr());
        let template = match len {
            Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{msg} {spinner} {bytes} {bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.with_message(self.name.clone())
    }
}

fn open_file(name: &str) -> Result<File> {
    File::open(name).map_err(|error| unreadable(name, error))
}

fn unreadable(name: &str, error: io::Error) -> Error {
    let kind = Error::from(io::Error::from(error.kind())).kind();
    Error::new(kind, format!("{name} cannot be read")).because(error)
}

fn report(file: &str, table: &str, answer: &Answer) {
    eprintln!("{file}: {} accepted, {} refused", output::count(answer.accepted), output::count(answer.rejected));
    for reason in answer.reasons.iter().take(5) {
        eprintln!("  {}", send::reason(reason));
    }
    if answer.rejected > 0 {
        eprintln!("  see them all: lakectl quarantine show {table}");
    }
    if answer.late {
        eprintln!("  the rows are safe, but their commit takes longer than the daemon waits");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_tells_its_form() {
        for (bytes, form) in [
            (&b"\n {\"a\":1}"[..], Format::Ndjson),
            (b"\xef\xbb\xbf[{", Format::Json),
            (b"a,b\n1,2", Format::Csv),
            (b"PAR1\x15", Format::Parquet),
            (b"\xff\xff\xff\xff\x00", Format::Arrow),
            (b"", Format::Ndjson),
        ] {
            assert_eq!(told(bytes).expect("told"), form, "{bytes:?}");
        }
        assert!(told(b"\x1f\x8b\x08,").expect_err("packed").to_string().contains("--format"));
    }
}
