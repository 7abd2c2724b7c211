//! Drafts from the Arrow schema of a Parquet or Arrow file.

use arrow::datatypes::{DataType, Schema};

use super::{Column, Draft};

pub(super) fn read(schema: &Schema) -> Draft {
    let mut draft = Draft::default();
    for field in schema.fields() {
        let Some((kind, comment)) = kind(field.data_type()) else {
            draft.ignored.push(format!(
                "`{}` is {}, a contract describes flat records",
                field.name(),
                field.data_type()
            ));
            continue;
        };
        let mut column = Column::new(field.name(), kind);
        column.required = !field.is_nullable();
        column.comments.extend(comment.map(str::to_owned));
        draft.columns.push(column);
    }
    draft
}

fn kind(data_type: &DataType) -> Option<(String, Option<&'static str>)> {
    let kind = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => "int",
        DataType::Int64 | DataType::UInt32 => "long",
        DataType::UInt64 => {
            return Some(("long".to_owned(), Some("Unsigned in the file; values above 2^63-1 are refused.")));
        }
        DataType::Float16 | DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => {
            return decimal(*p, *s).map(|kind| (kind, None));
        }
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Timestamp(_, None) => {
            let comment = "Without a zone in the file. If it is an instant: timestamptz with time_zone, as \"UTC\".";
            return Some(("timestamp".to_owned(), Some(comment)));
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary",
        DataType::FixedSizeBinary(width) if *width > 0 => return Some((format!("fixed({width})"), None)),
        DataType::Dictionary(_, values) => return self::kind(values),
        DataType::Null => return Some(("string".to_owned(), Some("No value in the file."))),
        _ => return None,
    };
    Some((kind.to_owned(), None))
}

fn decimal(precision: u8, scale: i8) -> Option<String> {
    let scale = u8::try_from(scale).ok()?;
    (precision <= 38 && scale <= precision).then(|| format!("decimal({precision},{scale})"))
}
