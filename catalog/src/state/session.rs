//! What a statement needs of a database, whichever it is.
//!
//! Statements are written once, in what both databases understand: parameters are `?1`, `?2` (PostgreSQL is given `$1`,
//! so a statement holds no other question mark), types are text, 64-bit integers and bytes. Each is prepared once a
//! connection.

use std::borrow::Cow;

use crate::error::{Error, Kind, Result};

/// A value on its way in or out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Null,
    Integer(i64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text.into())
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Value::Text(text.as_str().into())
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Value::Bytes(bytes.into())
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Integer(number)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// A row of an answer.
#[derive(Debug)]
pub struct Row(pub Vec<Value<'static>>);

impl Row {
    fn take(&mut self, column: usize) -> Value<'static> {
        self.0.get_mut(column).map_or(Value::Null, |value| std::mem::replace(value, Value::Null))
    }

    /// A column's text, moved out.
    ///
    /// # Errors
    /// `Corrupt` if it is none.
    pub fn text(&mut self, column: usize) -> Result<String> {
        match self.take(column) {
            Value::Text(text) => Ok(text.into_owned()),
            other => Err(unfit("text", column, &other)),
        }
    }

    /// A column's number.
    ///
    /// # Errors
    /// `Corrupt` if it is none.
    pub fn integer(&mut self, column: usize) -> Result<i64> {
        match self.take(column) {
            Value::Integer(number) => Ok(number),
            other => Err(unfit("a number", column, &other)),
        }
    }

    /// A column's bytes, moved out.
    ///
    /// # Errors
    /// `Corrupt` if it is none.
    pub fn bytes(&mut self, column: usize) -> Result<Vec<u8>> {
        match self.take(column) {
            Value::Bytes(bytes) => Ok(bytes.into_owned()),
            other => Err(unfit("bytes", column, &other)),
        }
    }
}

fn unfit(expected: &'static str, column: usize, found: &Value<'_>) -> Error {
    let found = match found {
        Value::Null => "nothing",
        Value::Integer(_) => "a number",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytes",
    };
    Error::new(Kind::Corrupt, "the catalog's database holds another type than was written")
        .with("expected", expected)
        .with("found", found)
        .with("column", column)
}

/// A connection, in a transaction or not.
pub trait Session {
    /// Changes rows; returns how many.
    ///
    /// # Errors
    /// Database errors.
    fn execute(&mut self, sql: &str, parameters: &[Value<'_>]) -> Result<u64>;

    /// Every row of an answer. The statement bounds how many there are.
    ///
    /// # Errors
    /// Database errors.
    fn query(&mut self, sql: &str, parameters: &[Value<'_>]) -> Result<Vec<Row>>;

    /// The first row of an answer.
    ///
    /// # Errors
    /// Database errors.
    fn first(&mut self, sql: &str, parameters: &[Value<'_>]) -> Result<Option<Row>> {
        Ok(self.query(sql, parameters)?.into_iter().next())
    }
}

/// Work done over a session.
pub type Work<'a> = &'a mut dyn FnMut(&mut dyn Session) -> Result<()>;

/// A database: what SQLite and PostgreSQL have in common.
///
/// **Transactions run one after another**, each from its begin to its commit, over all processes that use the database:
/// what a transaction looked at still holds when it writes. SQLite does so by itself (`BEGIN IMMEDIATE`); on PostgreSQL
/// each begins by taking the catalog's advisory lock. So no statement needs to know which database it runs on, and who
/// gets to begin a transaction knows that every one before it has ended, one way or the other.
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// Whether it lies on the disk that the metadata files lie on, and no other process writes to it meanwhile.
    fn is_embedded(&self) -> bool;

    /// Reads. Each statement sees what was committed before it.
    ///
    /// # Errors
    /// The work's; database errors.
    fn read(&self, work: Work<'_>) -> Result<()>;

    /// Reads, all statements at one moment.
    ///
    /// # Errors
    /// The work's; database errors.
    fn snapshot(&self, work: Work<'_>) -> Result<()>;

    /// Reads and writes in one transaction, durable when this returns.
    ///
    /// # Errors
    /// The work's, and then nothing took effect; database errors, and then it may have.
    fn transaction(&self, work: Work<'_>) -> Result<()>;

    /// Leaves no byte of rows that were deleted, as far as the database is ours to look after; `false` if somebody reads
    /// for too long, and it may.
    ///
    /// # Errors
    /// Database errors.
    fn forget(&self) -> Result<bool> {
        Ok(true)
    }
}
