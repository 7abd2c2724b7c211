//! What a source is, from its file name or from its HTTP headers.

use crate::error::{Error, Kind, Result};
use crate::flow::{Format, Packing};

/// File names that are taken, for messages.
pub const NAMES: &str = ".ndjson, .jsonl, .json, .csv, .parquet, .arrow; the texts also with .gz or .zst behind";
/// Content types that are taken, for messages.
pub const TYPES: &str = "application/x-ndjson, application/json, text/csv, application/vnd.apache.parquet, \
                         application/vnd.apache.arrow.stream";

impl Format {
    /// Whether it is text, which may be packed.
    pub fn is_text(self) -> bool {
        matches!(self, Format::Ndjson | Format::Json | Format::Csv)
    }
}

/// Reads a file name (its last part is enough).
pub fn of_name(name: &str) -> Result<(Format, Packing)> {
    let lower = name.to_ascii_lowercase();
    let (stem, packing) = match lower.rsplit_once('.') {
        Some((stem, "gz")) => (stem, Packing::Gzip),
        Some((stem, "zst" | "zstd")) => (stem, Packing::Zstd),
        _ => (lower.as_str(), Packing::Plain),
    };
    let format = match stem.rsplit_once('.').map(|(_, extension)| extension) {
        Some("ndjson" | "jsonl") => Some(Format::Ndjson),
        Some("json") => Some(Format::Json),
        Some("csv") => Some(Format::Csv),
        Some("parquet") => Some(Format::Parquet),
        Some("arrow" | "arrows" | "ipc" | "feather") => Some(Format::Arrow),
        _ => None,
    };
    match format {
        Some(format) if packing == Packing::Plain || format.is_text() => Ok((format, packing)),
        Some(_) => Err(refuse("Parquet and Arrow files are not packed once more; unpack it", name)),
        None => Err(refuse(&format!("the name does not say what the file holds; possible: {NAMES}"), name)),
    }
}

fn refuse(message: &str, what: &str) -> Error {
    Error::new(Kind::Invalid, message).with("got", what)
}

/// Reads `Content-Type` and `Content-Encoding`; parameters of the type are passed over.
pub fn of_headers(content_type: Option<&str>, content_encoding: Option<&str>) -> Result<(Format, Packing)> {
    let given = content_type.unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let format = match essence.as_str() {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Format::Ndjson
        }
        "application/json" => Format::Json,
        "text/csv" => Format::Csv,
        "application/vnd.apache.parquet" => Format::Parquet,
        "application/vnd.apache.arrow.stream" | "application/vnd.apache.arrow.file" => Format::Arrow,
        _ => return Err(refuse(&format!("this Content-Type is not taken; possible: {TYPES}"), given)),
    };
    let encoding = content_encoding.unwrap_or("identity").trim().to_ascii_lowercase();
    let packing = match encoding.as_str() {
        "" | "identity" => Packing::Plain,
        "gzip" | "x-gzip" => Packing::Gzip,
        "zstd" => Packing::Zstd,
        _ => return Err(refuse("this Content-Encoding is not taken; possible: gzip, zstd, identity", &encoding)),
    };
    if packing != Packing::Plain && !format.is_text() {
        return Err(refuse("Parquet and Arrow bodies are not packed once more; send it unpacked", &encoding));
    }
    Ok((format, packing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(of_name("a.b.NDJSON.gz").unwrap(), (Format::Ndjson, Packing::Gzip));
        assert_eq!(of_name("x.jsonl.zst").unwrap(), (Format::Ndjson, Packing::Zstd));
        assert_eq!(of_name("x.parquet").unwrap(), (Format::Parquet, Packing::Plain));
        for bad in ["x.parquet.gz", "x.gz", "csv", "x.txt", ""] {
            assert_eq!(of_name(bad).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn headers() {
        let csv = of_headers(Some("Text/CSV; charset=utf-8"), Some("gzip")).unwrap();
        assert_eq!(csv, (Format::Csv, Packing::Gzip));
        assert_eq!(of_headers(Some("application/json"), None).unwrap(), (Format::Json, Packing::Plain));
        let error = of_headers(Some("text/plain"), None).unwrap_err();
        assert!(error.message().contains("application/x-ndjson"));
        assert!(of_headers(None, None).is_err());
        assert!(of_headers(Some("application/vnd.apache.parquet"), Some("zstd")).is_err());
        assert!(of_headers(Some("text/csv"), Some("br")).unwrap_err().message().contains("zstd"));
    }
}
