//! `[table]` and `[properties]`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use iceberg::{NamespaceIdent, TableIdent};
use jiff::tz::{Offset, TimeZone};
use toml::de::{DeTable, DeValue};

use super::super::{Atomic, Settings, Unknown};
use super::keys::{Keys, wrong};
use super::{Notes, known};

/// What `[table]` says; the layout is read once the fields are known.
pub(super) struct Table<'a> {
    pub(super) settings: Settings,
    pub(super) time_zone: Option<TimeZone>,
    pub(super) partition: Vec<(&'a str, Range<usize>)>,
    pub(super) sort: Vec<(&'a str, Range<usize>)>,
    pub(super) identifier: Vec<(&'a str, Range<usize>)>,
}

pub(super) fn read<'a>(top: &Keys<'a, '_>, origin: &str, notes: &mut Notes<'_>) -> Table<'a> {
    let empty = Keys::none();
    let keys = match top.get("table").map(|value| (value, value.get_ref().as_table())) {
        Some((_, Some(table))) => Keys::of(table, known::TABLE, "in [table]", notes),
        Some((value, None)) => {
            wrong("table", "a table: [table]", value, notes);
            empty
        }
        None => empty,
    };
    let settings = Settings {
        ident: ident(&keys, origin, notes),
        version: version(&keys, notes),
        doc: keys.words("doc", notes),
        strict: keys.flag("strict", notes).unwrap_or(true),
        unknown: unknown(&keys, notes),
        reject_limit: reject_limit(&keys, notes),
        atomic: atomic(&keys, notes),
        null_values: null_values(&keys, notes).unwrap_or_else(|| [String::new()].into()),
    };
    Table {
        settings,
        time_zone: time_zone(&keys, notes),
        partition: keys.texts("partition", notes).unwrap_or_default(),
        sort: keys.texts("sort", notes).unwrap_or_default(),
        identifier: keys.texts("identifier", notes).unwrap_or_default(),
    }
}

/// Table properties; numbers and booleans are written as text, as Iceberg keeps them.
pub(super) fn properties(top: &Keys<'_, '_>, notes: &mut Notes<'_>) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    let Some(value) = top.get("properties") else { return properties };
    let Some(table) = value.get_ref().as_table() else {
        wrong("properties", "a table: [properties]", value, notes);
        return properties;
    };
    flatten("", table, &mut properties, notes);
    for key in properties.keys().filter(|key| key.starts_with("laked.contract.") && *key != "laked.contract.enforce") {
        notes.at(value.span(), format!("`{key}` is set by laked itself; remove it"));
    }
    properties
}

/// `write.parquet.compression-codec = "zstd"` without quotes around the key is nested tables to TOML: the same.
fn flatten(prefix: &str, table: &DeTable<'_>, into: &mut BTreeMap<String, String>, notes: &mut Notes<'_>) {
    for (key, _, value) in Keys::all(table).entries() {
        let key = format!("{prefix}{key}");
        let text = match value.get_ref() {
            DeValue::Table(inner) => {
                flatten(&format!("{key}."), inner, into, notes);
                continue;
            }
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Datetime(_) | DeValue::Array(_) => {
                wrong(&key, "a text, a number, true or false", value, notes);
                continue;
            }
        };
        into.insert(key, text);
    }
}

fn ident(keys: &Keys<'_, '_>, origin: &str, notes: &mut Notes<'_>) -> TableIdent {
    let (name, span) = match keys.text("name", notes) {
        Some((name, span)) => (Some(name.to_owned()), Some(span)),
        None => (path_name(origin), None),
    };
    let ident = name.as_deref().and_then(|name| {
        let (namespace, table) = name.rsplit_once('.')?;
        let levels: Vec<String> = namespace.split('.').map(str::to_owned).collect();
        let sound = |part: &str| !part.is_empty() && !part.contains(['/', '\\']) && !part.contains(char::is_control);
        if !sound(table) || !levels.iter().all(|level| sound(level)) {
            return None;
        }
        Some(TableIdent::new(NamespaceIdent::from_vec(levels).ok()?, table.to_owned()))
    });
    if ident.is_none() {
        let message = "which table? keep the file as `<namespace>/<table>.toml`, or say `name = \"namespace.table\"`";
        match span {
            Some(span) => notes.at(span, message),
            None => notes.whole(message),
        }
    }
    ident.unwrap_or_else(|| TableIdent::new(NamespaceIdent::new(String::new()), String::new()))
}

/// `schemas/glucose/cgm_readings.toml` is of the table `glucose.cgm_readings`.
fn path_name(origin: &str) -> Option<String> {
    let path = Path::new(origin);
    let table = path.file_stem()?.to_str()?;
    let namespace = path.parent()?.file_name()?.to_str()?;
    Some(format!("{namespace}.{table}"))
}

fn version(keys: &Keys<'_, '_>, notes: &mut Notes<'_>) -> u32 {
    let Some(value) = keys.get("version") else { return 1 };
    let version = value.get_ref().as_integer().and_then(|number| number.to_string().parse().ok());
    if version.is_none_or(|version: u32| version == 0) {
        wrong("version", "a number from 1: raise it with each change of the contract", value, notes);
    }
    version.unwrap_or(1)
}

fn unknown(keys: &Keys<'_, '_>, notes: &mut Notes<'_>) -> Unknown {
    match keys.text("unknown", notes) {
        None | Some(("reject", _)) => Unknown::Reject,
        Some(("ignore", _)) => Unknown::Ignore,
        Some((other, span)) => {
            notes.at(span, format!("no way `{other}` to treat unknown fields; possible: reject, ignore"));
            Unknown::Reject
        }
    }
}

fn atomic(keys: &Keys<'_, '_>, notes: &mut Notes<'_>) -> Atomic {
    match keys.text("atomic", notes) {
        None | Some(("file", _)) => Atomic::File,
        Some(("parts", _)) => Atomic::Parts,
        Some((other, span)) => {
            notes.at(span, format!("`{other}` does not say what of a file appears at once; possible: file, parts"));
            Atomic::File
        }
    }
}

fn reject_limit(keys: &Keys<'_, '_>, notes: &mut Notes<'_>) -> f64 {
    const DEFAULT: f64 = 0.05;
    let Some((text, span)) = keys.text("reject_limit", notes) else { return DEFAULT };
    let share = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match share.filter(|share| (0.0..=100.0).contains(share)) {
        Some(share) => share / 100.0,
        None => {
            notes.at(span, format!("`{text}` is no share of records; write a percentage, 0% to 100%, as \"5%\""));
            DEFAULT
        }
    }
}

pub(super) fn null_values(keys: &Keys<'_, '_>, notes: &mut Notes<'_>) -> Option<Arc<[String]>> {
    let texts = keys.texts("null_values", notes)?;
    Some(texts.into_iter().map(|(text, _)| text.to_owned()).collect())
}

pub(super) fn time_zone(keys: &Keys<'_, '_>, notes: &mut Notes<'_>) -> Option<TimeZone> {
    let (text, span) = keys.text("time_zone", notes)?;
    let zone = fixed(text).or_else(|| TimeZone::get(text).ok());
    if zone.is_none() {
        notes.at(span, format!("no time zone `{text}`; write an IANA name (\"Asia/Taipei\", \"UTC\") or \"+08:00\""));
    }
    zone
}

fn fixed(text: &str) -> Option<TimeZone> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if minutes >= 60 || hours > 18 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok().map(TimeZone::fixed)
}
