//! `--where`: a small SQL condition, typed by the table's schema.
//!
//! Grammar: comparisons, `IN (…)`, `BETWEEN … AND …`, `IS [NOT] NULL`, `LIKE 'x%'`, `AND`, `OR`, `NOT`, parentheses.
//! Literals are quoted texts and numbers; a quoted text is read as the column's type, so `timestamp >= '2025-03-01'`
//! works for dates and times alike (UTC where no offset is given).

use iceberg::spec::{Datum, PrimitiveType, Schema, Type};
use laked_catalog::plan::{Op, Predicate};

use crate::error::{Error, Kind, Result};

/// Deepest nesting of a condition.
const DEPTH: usize = 64;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(String),
}

/// Reads a condition.
///
/// # Errors
/// `Invalid` with the place and what is possible there.
pub fn parse_where(text: &str, schema: &Schema) -> Result<Predicate> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, schema, text, depth: 0 };
    let predicate = parser.any()?;
    match parser.peek() {
        None => Ok(predicate),
        Some(token) => Err(parser.bad(&format!("did not expect {token:?} here; AND or OR joins conditions"))),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, len) = match first {
            '\'' | '"' => quoted(rest, first, text)?,
            c if c.is_alphanumeric() || "_-+.".contains(c) => {
                let len = rest.find(|c: char| !(c.is_alphanumeric() || "_-+.:".contains(c))).unwrap_or(rest.len());
                (Token::Word(rest[..len].to_string()), len)
            }
            _ => {
                let two = ["<=", ">=", "<>", "!="].iter().any(|sign| rest.starts_with(sign));
                let len = if two { 2 } else { first.len_utf8() };
                (Token::Sign(rest[..len].to_string()), len)
            }
        };
        found.push(token);
        rest = rest[len..].trim_start();
    }
    Ok(found)
}

fn quoted(rest: &str, quote: char, text: &str) -> Result<(Token, usize)> {
    let mut content = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            content.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            content.push(quote);
            chars.next();
        } else {
            let token = if quote == '\'' { Token::Text(content) } else { Token::Word(content) };
            return Ok((token, at + 1));
        }
    }
    Err(Error::new(Kind::Invalid, format!("a {quote} is not closed in the condition")).with("condition", text))
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    schema: &'a Schema,
    text: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn bad(&self, what: &str) -> Error {
        Error::new(Kind::Invalid, what).with("condition", self.text).with("token", self.at + 1)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(found)) if found == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.sign(sign) { Ok(()) } else { Err(self.bad(&format!("expected '{sign}'"))) }
    }

    fn any(&mut self) -> Result<Predicate> {
        let mut parts = vec![self.all()?];
        while self.keyword("or") {
            parts.push(self.all()?);
        }
        Ok(joined(parts, Predicate::Or))
    }

    fn all(&mut self) -> Result<Predicate> {
        let mut parts = vec![self.one()?];
        while self.keyword("and") {
            parts.push(self.one()?);
        }
        Ok(joined(parts, Predicate::And))
    }

    fn one(&mut self) -> Result<Predicate> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.bad("the condition is nested too deep"));
        }
        let predicate = if self.keyword("not") {
            self.one()?.negated()
        } else if self.sign("(") {
            let inner = self.any()?;
            self.expect(")")?;
            inner
        } else {
            self.leaf()?
        };
        self.depth -= 1;
        Ok(predicate)
    }

    fn leaf(&mut self) -> Result<Predicate> {
        let (column, kind) = self.column()?;
        if self.keyword("is") {
            let null = !self.keyword("not");
            return if self.keyword("null") {
                Ok(Predicate::IsNull { column, null })
            } else {
                Err(self.bad("expected NULL"))
            };
        }
        let negate = self.keyword("not");
        let predicate = if self.keyword("in") {
            self.expect("(")?;
            let mut choices = vec![self.compare(column, Op::Eq, &kind)?];
            while self.sign(",") {
                choices.push(self.compare(column, Op::Eq, &kind)?);
            }
            self.expect(")")?;
            joined(choices, Predicate::Or)
        } else if self.keyword("between") {
            let low = self.compare(column, Op::Ge, &kind)?;
            if !self.keyword("and") {
                return Err(self.bad("expected AND after BETWEEN's first value"));
            }
            Predicate::And(vec![low, self.compare(column, Op::Le, &kind)?])
        } else if self.keyword("like") {
            self.like(column)?
        } else {
            let op = self.operator()?;
            self.compare(column, op, &kind)?
        };
        Ok(if negate { predicate.negated() } else { predicate })
    }

    fn column(&mut self) -> Result<(i32, PrimitiveType)> {
        let Some(Token::Word(name)) = self.peek().cloned() else { return Err(self.bad("expected a column's name")) };
        let Some(field) = self.schema.field_by_name(&name) else {
            let known: Vec<&str> = self.schema.as_struct().fields().iter().map(|field| field.name.as_str()).collect();
            return Err(self.bad(&format!("there is no column '{name}'; there are: {}", known.join(", "))));
        };
        let Type::Primitive(kind) = field.field_type.as_ref() else {
            return Err(self.bad(&format!("'{name}' is nested; name one of its fields")));
        };
        self.at += 1;
        Ok((field.id, kind.clone()))
    }

    fn operator(&mut self) -> Result<Op> {
        for (sign, op) in [
            ("<=", Op::Le),
            (">=", Op::Ge),
            ("<>", Op::Ne),
            ("!=", Op::Ne),
            ("=", Op::Eq),
            ("<", Op::Lt),
            (">", Op::Gt),
        ] {
            if self.sign(sign) {
                return Ok(op);
            }
        }
        Err(self.bad("expected =, <>, <, <=, >, >=, IN, BETWEEN, LIKE or IS"))
    }

    fn compare(&mut self, column: i32, op: Op, kind: &PrimitiveType) -> Result<Predicate> {
        // SQL's typed literals: DATE '2025-03-01', TIMESTAMP '…'.
        for word in ["date", "timestamp", "timestamptz"] {
            if matches!(self.tokens.get(self.at + 1), Some(Token::Text(_))) && self.keyword(word) {
                break;
            }
        }
        let text = match self.peek().cloned() {
            Some(Token::Text(text) | Token::Word(text)) => text,
            _ => return Err(self.bad("expected a value")),
        };
        let literal = literal(&text, kind).ok_or_else(|| {
            self.bad(&format!("'{text}' is not a value of type {kind}; quote texts, dates and times"))
        })?;
        self.at += 1;
        Ok(Predicate::compare(column, op, literal))
    }

    fn like(&mut self, column: i32) -> Result<Predicate> {
        let Some(Token::Text(pattern)) = self.peek().cloned() else {
            return Err(self.bad("expected a quoted pattern"));
        };
        self.at += 1;
        let end = pattern.find(['%', '_']).unwrap_or(pattern.len());
        let (prefix, rest) = pattern.split_at(end);
        Ok(match (prefix.is_empty(), rest) {
            (_, "") => Predicate::compare(column, Op::Eq, Datum::string(prefix)),
            (false, "%") => Predicate::starts_with(column, prefix),
            // What follows is not looked at, so the opposite is not known either.
            (false, _) => Predicate::And(vec![Predicate::starts_with(column, prefix), Predicate::Unknown]),
            (true, _) => Predicate::Unknown,
        })
    }
}

fn joined(mut parts: Vec<Predicate>, join: impl Fn(Vec<Predicate>) -> Predicate) -> Predicate {
    match parts.len() {
        1 => parts.pop().unwrap_or(Predicate::True),
        _ => join(parts),
    }
}

/// A text as a value of that type.
pub(super) fn literal(text: &str, kind: &PrimitiveType) -> Option<Datum> {
    Some(match kind {
        PrimitiveType::Boolean => Datum::bool(text.to_ascii_lowercase().parse::<bool>().ok()?),
        PrimitiveType::Int => Datum::int(text.parse::<i32>().ok()?),
        PrimitiveType::Long => Datum::long(text.parse::<i64>().ok()?),
        PrimitiveType::Float => Datum::float(text.parse::<f32>().ok()?),
        PrimitiveType::Double => Datum::double(text.parse::<f64>().ok()?),
        PrimitiveType::String => Datum::string(text),
        PrimitiveType::Date => Datum::date_from_str(text).ok()?,
        PrimitiveType::Time => Datum::time_from_str(text).ok()?,
        PrimitiveType::Timestamp => Datum::timestamp_micros(micros(text)?),
        PrimitiveType::Timestamptz => Datum::timestamptz_micros(micros(text)?),
        PrimitiveType::Uuid => Datum::uuid_from_str(text).ok()?,
        PrimitiveType::Decimal { scale, .. } => Datum::decimal_from_str(scaled(text, *scale)?).ok()?,
        _ => return None,
    })
}

/// A decimal's text with just as many digits after the point as its column has; `None` if it has more.
fn scaled(text: &str, scale: u32) -> Option<String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let missing = (scale as usize).checked_sub(part.len())?;
    let digits = format!("{part}{}", "0".repeat(missing));
    Some(if digits.is_empty() { whole.to_string() } else { format!("{whole}.{digits}") })
}

/// Microseconds since 1970 of a date, a time with an offset, or a time without one, read as UTC.
pub(super) fn micros(text: &str) -> Option<i64> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_microsecond());
    }
    let local = text.parse::<jiff::civil::DateTime>().ok()?;
    Some(local.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use iceberg::spec::NestedField;

    fn schema() -> Schema {
        let field = |id, name: &str, kind| NestedField::optional(id, name, Type::Primitive(kind)).into();
        let fields = vec![
            field(1, "user_id", PrimitiveType::String),
            field(2, "timestamp", PrimitiveType::Timestamptz),
            field(3, "price", PrimitiveType::Decimal { precision: 12, scale: 2 }),
        ];
        Schema::builder().with_fields(fields).build().expect("valid")
    }

    #[test]
    fn literals_take_the_columns_type() {
        let found = parse_where("timestamp >= '2025-03-01' and user_id = 'it''s'", &schema()).expect("valid");
        let month = Datum::timestamptz_micros(1_740_787_200_000_000_i64);
        let Predicate::And(parts) = found else { panic!("{found:?}") };
        assert_eq!(parts[0], Predicate::compare(2, Op::Ge, month));
        assert_eq!(parts[1], Predicate::compare(1, Op::Eq, Datum::string("it's")));
    }

    #[test]
    fn not_is_pushed_to_the_leaves() {
        let found = parse_where("not (user_id in ('a', 'b') or timestamp is null)", &schema()).expect("valid");
        let Predicate::And(parts) = found else { panic!("{found:?}") };
        assert!(matches!(&parts[0], Predicate::And(ne) if ne.len() == 2));
        assert_eq!(parts[1], Predicate::IsNull { column: 2, null: false });
    }

    #[test]
    fn mistakes_say_what_is_possible() {
        for (text, words) in [
            ("usr = 'a'", "user_id"),
            ("timestamp > 'soon'", "not a value"),
            ("user_id ~ 'a'", "expected ="),
            ("user_id = 'a", "not closed"),
            ("user_id = 'a' timestamp", "AND"),
        ] {
            let error = parse_where(text, &schema()).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
