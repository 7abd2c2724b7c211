//! A condition over a table's columns, as pruning needs it: typed, without NOT (pushed down to the leaves).
//!
//! Comparisons are SQL's: with null they hold for no row. `Ne`, not-in and not-starts-with are the exception, because
//! the reference implementation lets null satisfy them; pruning keeps a file with nulls for their sake. NaN is above
//! every number.

use std::cmp::Ordering;

use iceberg::spec::{Datum, Transform};

use super::value::Value;

/// How a term is compared with a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// A column, or a transform of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The column's field id.
    pub column: i32,
    /// Identity for the column itself.
    pub transform: Transform,
}

impl From<i32> for Term {
    fn from(column: i32) -> Term {
        Term { column, transform: Transform::Identity }
    }
}

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    /// Holds for every row.
    True,
    /// Holds for no row.
    False,
    /// All hold.
    And(Vec<Predicate>),
    /// One holds.
    Or(Vec<Predicate>),
    /// A term against a literal of its type.
    Compare {
        /// What is compared.
        term: Term,
        /// How.
        op: Op,
        /// With what.
        literal: Datum,
    },
    /// A term is among some literals, or among none of them.
    In {
        /// What is looked for.
        term: Term,
        /// Where: in order, as [`Predicate::among`] puts them.
        literals: Vec<Datum>,
        /// Whether it must be among them.
        among: bool,
    },
    /// A text begins with a text, or does not.
    StartsWith {
        /// What begins.
        term: Term,
        /// With what.
        prefix: String,
        /// Whether it must.
        starts: bool,
    },
    /// A column is null, or is not.
    IsNull {
        /// The column's field id.
        column: i32,
        /// Whether it must be null.
        null: bool,
    },
    /// A column is NaN, or is not.
    IsNan {
        /// The column's field id.
        column: i32,
        /// Whether it must be NaN.
        nan: bool,
    },
    /// A condition that pruning cannot use; the reader still applies it.
    Unknown,
}

impl Predicate {
    /// A column against a literal.
    pub fn compare(column: i32, op: Op, literal: Datum) -> Predicate {
        Predicate::Compare { term: column.into(), op, literal }
    }

    /// A text column begins with a text.
    pub fn starts_with(column: i32, prefix: impl Into<String>) -> Predicate {
        Predicate::StartsWith { term: column.into(), prefix: prefix.into(), starts: true }
    }

    /// A term is among literals of one type, none of them NaN.
    pub fn among(term: Term, mut literals: Vec<Datum>) -> Predicate {
        literals.sort_by_cached_key(|literal| Ordered(Value::of(literal.literal())));
        Predicate::In { term, literals, among: true }
    }

    /// The opposite, with NOT pushed to the leaves.
    #[must_use]
    pub fn negated(self) -> Predicate {
        match self {
            Predicate::True => Predicate::False,
            Predicate::False => Predicate::True,
            Predicate::Unknown => Predicate::Unknown,
            Predicate::And(parts) => Predicate::Or(parts.into_iter().map(Predicate::negated).collect()),
            Predicate::Or(parts) => Predicate::And(parts.into_iter().map(Predicate::negated).collect()),
            Predicate::Compare { term, op, literal } => Predicate::Compare { term, op: op.negated(), literal },
            Predicate::In { term, literals, among } => Predicate::In { term, literals, among: !among },
            Predicate::StartsWith { term, prefix, starts } => Predicate::StartsWith { term, prefix, starts: !starts },
            Predicate::IsNull { column, null } => Predicate::IsNull { column, null: !null },
            Predicate::IsNan { column, nan } => Predicate::IsNan { column, nan: !nan },
        }
    }

    /// The field ids of the columns it names.
    pub fn columns(&self) -> Vec<i32> {
        match self {
            Predicate::True | Predicate::False | Predicate::Unknown => Vec::new(),
            Predicate::And(parts) | Predicate::Or(parts) => parts.iter().flat_map(Predicate::columns).collect(),
            Predicate::Compare { term, .. } | Predicate::In { term, .. } | Predicate::StartsWith { term, .. } => {
                vec![term.column]
            }
            Predicate::IsNull { column, .. } | Predicate::IsNan { column, .. } => vec![*column],
        }
    }
}

impl Op {
    /// The comparison with its sides exchanged.
    pub fn mirrored(self) -> Op {
        match self {
            Op::Eq | Op::Ne => self,
            Op::Lt => Op::Gt,
            Op::Le => Op::Ge,
            Op::Gt => Op::Lt,
            Op::Ge => Op::Le,
        }
    }

    fn negated(self) -> Op {
        match self {
            Op::Eq => Op::Ne,
            Op::Ne => Op::Eq,
            Op::Lt => Op::Ge,
            Op::Le => Op::Gt,
            Op::Gt => Op::Le,
            Op::Ge => Op::Lt,
        }
    }
}

/// Values of one sort, none of them NaN, in their order.
#[derive(PartialEq)]
struct Ordered(Option<Value>);

impl Eq for Ordered {}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_ref().zip(other.0.as_ref()).and_then(|(a, b)| a.compare(b)).unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
