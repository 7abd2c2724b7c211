//! What was seen of one column: the shapes of its values, and the type they come to.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::{Column, Draft, quoted};

/// Distinct values of a column that are kept for an `enum` suggestion.
const DISTINCT: usize = 20;

/// Texts that stand for null in a column of another type than string.
const NULLS: [&str; 17] =
    ["", "NA", "N/A", "n/a", "na", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "Null", "None", "-", ".", "?", "\\N"];
/// Those of them that stand for null in a column of texts too.
const TEXT_NULLS: [&str; 8] = ["", "NA", "N/A", "n/a", "#N/A", "null", "NULL", "\\N"];

/// A value as a source gives it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given<'a> {
    /// No value: JSON null, or the key is not there.
    Null,
    /// A CSV cell: nothing says what it is.
    Cell(&'a str),
    /// A JSON text.
    Text(&'a str),
    /// A JSON number, as it is written.
    Number(&'a str),
    /// A JSON boolean.
    Boolean,
    /// A JSON object or array.
    Nested,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    Boolean,
    Int,
    BigInt,
    Real,
    Zeroed,
    Date,
    Local,
    Instant,
    Time,
    Text,
    Nested,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How many values of each shape, with the first one.
    shapes: BTreeMap<Shape, (u64, String)>,
    /// Texts that may stand for null, with their number.
    nulls: BTreeMap<String, u64>,
    /// Records without a value.
    absent: u64,
    distinct: BTreeMap<String, u64>,
    many: bool,
    /// JSON texts and JSON values of other kinds.
    quoted: u64,
    plain: u64,
    /// A form that only `strict = false` takes: spaces, seconds left out, other words for true.
    loose: bool,
    least: i64,
    most: i64,
    digits: usize,
    scales: Option<(usize, usize)>,
}

macro_rules! regex {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("invariant: a constant pattern"));
    };
}
regex!(NUMBER, r"^-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$");
regex!(
    MOMENT,
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(\.[0-9]+)?( ?)([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?$"
);
regex!(CLOCK, r"^[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?$");

impl Seen {
    /// Notes one value.
    pub(super) fn add(&mut self, given: Given<'_>) {
        match given {
            Given::Null => self.absent += 1,
            Given::Nested => self.count(Shape::Nested, ""),
            Given::Boolean => {
                self.plain += 1;
                self.count(Shape::Boolean, "true");
            }
            Given::Number(text) => {
                self.plain += 1;
                self.value(text);
            }
            Given::Cell(text) | Given::Text(text) => {
                if NULLS.contains(&text.trim()) {
                    *self.nulls.entry(text.to_owned()).or_default() += 1;
                    return;
                }
                self.quoted += u64::from(matches!(given, Given::Text(_)));
                self.value(text);
            }
        }
    }

    fn value(&mut self, text: &str) {
        let shape = self.shape(text.trim());
        self.loose |= shape != Shape::Text && text.trim() != text;
        self.count(shape, text);
        if let Some(count) = self.distinct.get_mut(text) {
            *count += 1;
        } else if self.distinct.len() < DISTINCT {
            self.distinct.insert(text.to_owned(), 1);
        } else {
            self.many = true;
        }
    }

    fn count(&mut self, shape: Shape, text: &str) {
        let seen = self.shapes.entry(shape).or_insert_with(|| (0, text.chars().take(40).collect()));
        seen.0 += 1;
    }

    fn shape(&mut self, text: &str) -> Shape {
        if let Some(parts) = NUMBER.captures(text) {
            return self.number(text, parts.get(1).map(|part| part.len() - 1), parts.get(2).is_some());
        }
        if text.len() > 1 && text.bytes().all(|b| b.is_ascii_digit()) {
            return Shape::Zeroed;
        }
        if matches!(text, "true" | "false") {
            return Shape::Boolean;
        }
        if ["true", "false", "yes", "no", "y", "n", "t", "f"].contains(&text.to_ascii_lowercase().as_str()) {
            self.loose = true;
            return Shape::Boolean;
        }
        if text.len() == 10
            && text.as_bytes()[4] == b'-'
            && text.parse::<jiff::civil::Date>().is_ok_and(|date| date.year() > 0)
        {
            return Shape::Date;
        }
        if CLOCK.is_match(text) && text.parse::<jiff::civil::Time>().is_ok() && !text[6..].starts_with("60") {
            return Shape::Time;
        }
        self.moment(text).unwrap_or(Shape::Text)
    }

    fn number(&mut self, text: &str, scale: Option<usize>, exponent: bool) -> Shape {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        if scale.is_some() || exponent {
            let scale = scale.filter(|_| !exponent).unwrap_or(usize::MAX);
            let (least, most) = self.scales.unwrap_or((scale, scale));
            self.scales = Some((least.min(scale), most.max(scale)));
            // A number beyond double's range would become infinite.
            return if text.parse::<f64>().is_ok_and(f64::is_finite) { Shape::Real } else { Shape::Text };
        }
        self.digits = self.digits.max(digits);
        match text.parse::<i64>() {
            Ok(value) => {
                (self.least, self.most) = (self.least.min(value), self.most.max(value));
                Shape::Int
            }
            Err(_) => Shape::BigInt,
        }
    }

    fn moment(&mut self, text: &str) -> Option<Shape> {
        let parts = MOMENT.captures(text)?;
        let part = |at: usize| parts.get(at).map_or("", |part| part.as_str());
        part(1).parse::<jiff::civil::Date>().ok().filter(|date| date.year() > 0)?;
        let clock = format!("{}{}", part(2), if part(3).is_empty() { ":00" } else { part(3) });
        clock.parse::<jiff::civil::Time>().ok().filter(|_| !clock.ends_with(":60"))?;
        let offset = part(6);
        self.loose |= part(3).is_empty() || part(4).len() > 7 || !part(5).is_empty() || matches!(offset.len(), 3 | 5);
        if part(3).is_empty() && !part(4).is_empty() {
            return None;
        }
        Some(if offset.is_empty() { Shape::Local } else { Shape::Instant })
    }

    /// Whether values of all these shapes, and no others, were seen.
    fn only(&self, shapes: &[Shape]) -> bool {
        self.shapes.keys().all(|shape| shapes.contains(shape))
    }

    fn has(&self, shape: Shape) -> bool {
        self.shapes.contains_key(&shape)
    }

    /// The column this comes to. Nothing if it holds objects or arrays.
    pub(super) fn column(&self, name: &str, draft: &mut Draft) -> Option<Column> {
        if self.has(Shape::Nested) {
            draft.ignored.push(format!("`{name}` holds objects or lists, a contract describes flat records"));
            return None;
        }
        let mut column = Column::new(name, self.kind());
        match column.kind.as_str() {
            "string" => self.explain_text(&mut column, draft),
            "timestamptz" => self.explain_time(&mut column, draft),
            _ => self.explain_number(&mut column, draft),
        }
        Some(column)
    }

    fn kind(&self) -> String {
        let all_quoted = self.quoted > 0 && self.plain == 0;
        let kind = if self.shapes.is_empty() {
            "string"
        } else if self.only(&[Shape::Boolean]) {
            "boolean"
        } else if self.only(&[Shape::Int]) {
            // A text of digits alone is rather an id than a number.
            match (all_quoted, self.least >= -10_000_000 && self.most <= 10_000_000) {
                (true, _) => "string",
                (false, true) => "int",
                (false, false) => "long",
            }
        } else if self.only(&[Shape::Int, Shape::BigInt]) && self.digits <= 38 && !all_quoted {
            "decimal(38,0)"
        } else if self.only(&[Shape::Int, Shape::Real]) {
            "double"
        } else if self.only(&[Shape::Date]) {
            "date"
        } else if self.only(&[Shape::Date, Shape::Local, Shape::Instant]) {
            "timestamptz"
        } else if self.only(&[Shape::Time]) {
            "time"
        } else {
            "string"
        };
        kind.to_owned()
    }

    fn explain_number(&self, column: &mut Column, draft: &mut Draft) {
        self.explain_loose(draft);
        if self.quoted > 0 && matches!(column.kind.as_str(), "int" | "long" | "double" | "boolean" | "decimal(38,0)") {
            draft.lenient.insert("some numbers or booleans are in quotes");
        }
        match (column.kind.as_str(), self.scales) {
            ("double", Some((least, most))) if least == most && (1..=6).contains(&most) && !self.has(Shape::Int) => {
                column.note(format!("All have {most} digits after the point: if this is money, decimal(18,{most})."));
            }
            ("decimal(38,0)", _) => column.note("Whole numbers beyond 64 bits."),
            _ => {}
        }
        if column.kind == "int" && self.distinct.len() == 2 && !self.many && self.least == 0 && self.most == 1 {
            column.note("Only 0 and 1: boolean, with strict = false, if they mean no and yes.");
        }
    }

    fn explain_loose(&self, draft: &mut Draft) {
        if self.loose {
            draft.lenient.insert("spaces around values, times without seconds, or other words for true and false");
        }
    }

    fn explain_time(&self, column: &mut Column, draft: &mut Draft) {
        self.explain_loose(draft);
        if self.has(Shape::Date) {
            draft.lenient.insert("some times are dates alone, taken as midnight");
        }
        if self.has(Shape::Local) || self.has(Shape::Date) {
            let (_, first) =
                self.shapes.get(&Shape::Local).or(self.shapes.get(&Shape::Date)).cloned().unwrap_or_default();
            column.note(format!(
                "Times without offset, as `{first}`: whose clock? UTC is a guess that lets the file in. Name the zone, as \
                 \"Asia/Taipei\", before the first ingest, or make the type timestamp to keep the clock's reading."
            ));
            column.keys.push(("time_zone", quoted("UTC")));
        }
    }

    fn explain_text(&self, column: &mut Column, draft: &mut Draft) {
        if self.shapes.is_empty() {
            column.note("No value seen: string takes anything.");
        } else if self.has(Shape::Zeroed) && self.only(&[Shape::Int, Shape::BigInt, Shape::Zeroed]) {
            column.note("Digits with leading zeros: ids, kept as text.");
        } else if self.only(&[Shape::Int]) {
            column.note("Whole numbers in quotes, kept as text. If they are amounts: long, with strict = false.");
        } else if self.shapes.len() > 1 || !self.has(Shape::Text) {
            let mut shapes: Vec<_> = self.shapes.iter().collect();
            shapes.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
            let parts: Vec<_> = shapes
                .iter()
                .map(|(shape, (count, first))| format!("{count} {}, as `{first}`", words(**shape)))
                .collect();
            column.note(format!("Mixed, so text: {}.", parts.join("; ")));
        }
        if self.plain > 0 {
            draft.lenient.insert("some fields mix texts with numbers or booleans; all are kept as text");
        }
        self.suggest_enum(column);
    }

    fn suggest_enum(&self, column: &mut Column) {
        let rows: u64 = self.distinct.values().sum();
        if self.many || self.distinct.len() < 2 || rows < 5 * self.distinct.len() as u64 {
            return;
        }
        let nulls = self.null_texts(column);
        let texts = self.nulls().filter(|text| !nulls.contains(text));
        let mut values: Vec<_> = self.distinct.keys().map(String::as_str).chain(texts).map(quoted).collect();
        values.sort();
        column.note(format!("Few values: enum = [{}]", values.join(", ")));
        column.splits = true;
    }

    /// The texts that stand for null in this column.
    pub(super) fn null_texts(&self, column: &Column) -> Vec<&str> {
        let codes =
            column.kind == "string" && self.distinct.keys().all(|value| is_code(value)) && !self.distinct.is_empty();
        let is_null = |text: &str| match column.kind.as_str() {
            "string" if codes && text == "NA" => false,
            "string" => TEXT_NULLS.contains(&text),
            _ => true,
        };
        self.nulls.keys().map(String::as_str).filter(|text| is_null(text)).collect()
    }

    /// Whether a null-like text was seen.
    pub(super) fn saw(&self, text: &str) -> bool {
        self.nulls.contains_key(text)
    }

    /// The null-like texts seen.
    pub(super) fn nulls(&self) -> impl Iterator<Item = &str> {
        self.nulls.keys().map(String::as_str)
    }

    /// Records in which the column had any value or text at all.
    pub(super) fn present(&self) -> u64 {
        self.shapes.values().map(|(count, _)| count).sum::<u64>() + self.nulls.values().sum::<u64>()
    }
}

/// `NA` among two-letter codes is Namibia.
fn is_code(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase())
}

fn words(shape: Shape) -> &'static str {
    match shape {
        Shape::Boolean => "true or false",
        Shape::Int | Shape::BigInt => "whole numbers",
        Shape::Real => "numbers",
        Shape::Zeroed => "digits with leading zeros",
        Shape::Date => "dates",
        Shape::Local => "times without offset",
        Shape::Instant => "times",
        Shape::Time => "times of day",
        Shape::Text => "texts",
        Shape::Nested => "objects or lists",
    }
}
