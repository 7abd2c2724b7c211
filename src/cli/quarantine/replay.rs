//! Sending refused records again.

use std::io::Cursor;

use clap::Args;
use iceberg::TableIdent;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::replayed::{Place, Replayed};
use super::{Which, quoted, rejected};
use crate::cli::ingest::{Answer, Opening, Sender, settle};
use crate::cli::{Output, output};
use crate::error::{Error, Kind, Result};
use crate::flow::Format;
use crate::ingest::decode::RAW;
use crate::read::Source;
use crate::read::duck::{self, At, Form};
use crate::read::source::ident_of;

/// Send refused records again.
#[derive(Args, Debug)]
pub struct Replay {
    /// The table whose records were refused.
    table: String,
    #[command(flatten)]
    which: Which,
    /// Set a field of each record, which must be a JSON object: FIELD=VALUE, the value as JSON or plain text.
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// The header line of records that came as CSV.
    #[arg(long)]
    header: Option<String>,
    /// Print what would be sent, and send nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    opening: Opening,
}

#[derive(Debug, Deserialize)]
struct Refused {
    lane: String,
    entry: u64,
    record: u64,
    codes: String,
    raw: String,
}

/// Records as they will be sent.
struct Mended {
    places: Vec<Place>,
    body: String,
    format: Format,
}

impl Replay {
    /// Sends the chosen records that were not sent before, and remembers them.
    ///
    /// # Errors
    /// `Invalid` for records that cannot be mended or sent as they are; as for queries and ingestion.
    pub fn run(self, source: &Source, form: Output) -> Result<()> {
        let table = ident_of(&self.table)?;
        let quarantine = rejected(&table);
        let mut replayed = Replayed::of(&source.table(&quarantine)?.metadata)?;
        let mut refused = self.refused(source, &quarantine)?;
        let all = refused.len();
        refused.retain(|one| !replayed.has(&one.place()));
        let before = all - refused.len();
        refused.retain(Refused::is_whole);
        let not_whole = all - before - refused.len();
        let mended = self.mended(refused)?;
        if self.dry_run {
            output::line(mended.body.trim_end())?;
        }
        let count = mended.places.len();
        if not_whole > 0 {
            eprintln!(
                "{not_whole} records cannot be sent: they are too long to be kept whole, or not UTF-8; send them again \
                 from where they came"
            );
        }
        if self.dry_run {
            eprintln!("{count} records to send; {before} were sent before");
            return Ok(());
        }
        let answer = if count == 0 { Answer::default() } else { self.send(mended, source, &table, &mut replayed)? };
        if form == Output::Json {
            return output::json(&json!({
                "sent": count, "accepted": answer.accepted, "rejected": answer.rejected, "sent-before": before,
                "not-whole": not_whole,
            }));
        }
        let (accepted, again) = (output::count(answer.accepted), output::count(answer.rejected));
        let sent = output::count(count as u64);
        eprintln!("{sent} sent: {accepted} accepted, {again} refused again; {before} were sent before");
        Ok(())
    }

    /// Sends records and remembers them as sent.
    fn send(&self, mended: Mended, source: &Source, table: &TableIdent, replayed: &mut Replayed) -> Result<Answer> {
        if !replayed.add(mended.places.iter()) {
            return Err(Error::new(
                Kind::Invalid,
                "these are more records than can be remembered one by one; choose fewer with --source or --code",
            ));
        }
        let answer = mended.send(source, table, &self.opening)?;
        replayed.keep(source, &rejected(table))?;
        Ok(answer)
    }

    fn refused(&self, source: &Source, quarantine: &TableIdent) -> Result<Vec<Refused>> {
        let sql = format!(
            "SELECT lane, entry, record, codes, raw FROM {} WHERE {} ORDER BY lane, entry, record",
            quoted(quarantine),
            self.which.condition()
        );
        let mut text = Vec::new();
        duck::query(source, &sql, &At::Now, Form::Json, &mut text)?;
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice);
        lines.collect::<Result<_, _>>().map_err(|error| Error::new(Kind::Internal, "a query's answer").because(error))
    }

    fn mended(&self, refused: Vec<Refused>) -> Result<Mended> {
        let json = self.header.is_none();
        let mut body = self.header.as_ref().map_or_else(String::new, |header| format!("{}\n", header.trim_end()));
        for one in &refused {
            let raw = one.raw.trim();
            match (json, self.set.is_empty()) {
                (false, true) => body.push_str(raw),
                (false, false) => return Err(invalid("--set mends JSON records, not CSV", one)),
                (true, _) if !raw.starts_with('{') => {
                    return Err(invalid("a record came as CSV: give its header line with --header 'a,b,c'", one));
                }
                // A line break within JSON is a space.
                (true, true) => body.push_str(&raw.replace(['\n', '\r'], " ")),
                (true, false) => body.push_str(&self.set_fields(one)?),
            }
            body.push('\n');
        }
        let places = refused.iter().map(Refused::place).collect();
        Ok(Mended { places, body, format: if json { Format::Ndjson } else { Format::Csv } })
    }

    fn set_fields(&self, one: &Refused) -> Result<String> {
        let mut object: Map<String, Value> = serde_json::from_str(&one.raw).map_err(|error| {
            invalid("a record is no JSON object and cannot be mended with --set", one).because(error)
        })?;
        for set in &self.set {
            let (field, value) = set
                .split_once('=')
                .ok_or_else(|| Error::new(Kind::Invalid, format!("--set takes FIELD=VALUE, not `{set}`")))?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_string()));
            object.insert(field.to_string(), value);
        }
        serde_json::to_string(&object).map_err(|error| Error::new(Kind::Internal, "a record").because(error))
    }
}

fn invalid(message: &str, one: &Refused) -> Error {
    Error::new(Kind::Invalid, message).with("entry", one.entry).with("record", one.record)
}

impl Refused {
    fn place(&self) -> Place {
        (self.lane.clone(), self.entry, self.record)
    }

    /// Whether its raw text is all of it, as it came: what was cut, or replaced because it is not UTF-8, must not get
    /// into the table in that form.
    fn is_whole(&self) -> bool {
        // A character that would not fit is left out.
        let cut = self.raw.len() > RAW - 4;
        !cut && !self.codes.split(',').any(|code| code == "utf8" || code == "too-long")
    }
}

impl Mended {
    fn send(self, source: &Source, table: &TableIdent, opening: &Opening) -> Result<Answer> {
        // Records with the same text at other places are other records.
        let (salt, body) = (format!("{:?}", self.places), Cursor::new(self.body));
        let send = |sender: &Sender<'_>| sender.lines(self.format, salt.as_bytes(), body, true);
        match source {
            Source::Daemon(remote) => send(&Sender::by_http(remote, table, "replay")),
            Source::Lake(folder) => {
                let lake = opening.open(folder, table)?;
                let answer = send(&Sender::into_lake(&lake, table, "replay"))?;
                settle(&lake, table)?;
                Ok(answer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(set: &[&str], header: Option<&str>) -> Replay {
        Replay {
            table: "ns.t".into(),
            which: Which { source: None, code: None },
            set: set.iter().map(ToString::to_string).collect(),
            header: header.map(str::to_string),
            dry_run: false,
            opening: Opening::default(),
        }
    }

    fn refused(raw: &str) -> Vec<Refused> {
        vec![Refused { lane: "push.x".into(), entry: 1, record: 2, codes: "type".into(), raw: raw.into() }]
    }

    #[test]
    fn records_are_mended_field_by_field() {
        let mended = replay(&["country=TW", "n=5", "s=\"7\""], None).mended(refused(r#"{"country":"XX","a":1.50}"#));
        let body = mended.expect("mended").body;
        let value: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(value, json!({ "country": "TW", "a": 1.5, "n": 5, "s": "7" }));
        assert!(body.ends_with('\n'));
    }

    #[test]
    fn records_stay_as_they_came_otherwise() {
        assert_eq!(replay(&[], None).mended(refused("{\"a\":\n1.50}")).expect("sent").body, "{\"a\": 1.50}\n");
        assert_eq!(replay(&[], Some("a,b")).mended(refused("1,\"x\ny\"\r\n")).expect("sent").body, "a,b\n1,\"x\ny\"\n");
    }

    #[test]
    fn what_is_not_whole_is_told_apart() {
        let whole = |codes: &str, raw: &str| Refused { codes: codes.into(), ..refused(raw).remove(0) }.is_whole();
        assert!(whole("range,enum", "{}"));
        assert!(!whole("range,utf8", "{}") && !whole("too-long", "{}"));
        assert!(!whole("range", &"x".repeat(RAW)) && !whole("range", &"é".repeat(RAW / 2 - 1)));
    }

    #[test]
    fn what_cannot_be_sent_says_what_to_do() {
        let words = |replay: Replay, raw: &str| replay.mended(refused(raw)).err().map(|error| error.to_string());
        assert!(words(replay(&[], None), "1,2").is_some_and(|text| text.contains("--header")));
        assert!(words(replay(&["a=1"], Some("a,b")), "1,2").is_some_and(|text| text.contains("--set")));
        assert!(words(replay(&["a"], None), "{}").is_some_and(|text| text.contains("FIELD=VALUE")));
        assert!(words(replay(&["a=1"], None), "{oops}").is_some_and(|text| text.contains("no JSON object")));
    }
}
