//! A condition over a table's columns, as pruning needs it: typed, without NOT (pushed down to the leaves).

use iceberg::spec::Datum;

/// How a column is compared with a literal.
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

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    /// Holds for every row.
    True,
    /// All hold.
    And(Vec<Predicate>),
    /// One holds.
    Or(Vec<Predicate>),
    /// A column against a literal of its type.
    Compare {
        /// The column's field id.
        column: i32,
        /// How.
        op: Op,
        /// With what.
        literal: Datum,
    },
    /// A text column begins with a text.
    StartsWith {
        /// The column's field id.
        column: i32,
        /// The beginning.
        prefix: String,
    },
    /// A column is null, or is not.
    IsNull {
        /// The column's field id.
        column: i32,
        /// Whether it must be null.
        null: bool,
    },
    /// A condition that pruning cannot use; the reader still applies it.
    Unknown,
}

impl Predicate {
    /// The opposite, with NOT pushed to the leaves.
    #[must_use]
    pub fn negated(self) -> Predicate {
        match self {
            Predicate::True | Predicate::Unknown | Predicate::StartsWith { .. } => Predicate::Unknown,
            Predicate::And(parts) => Predicate::Or(parts.into_iter().map(Predicate::negated).collect()),
            Predicate::Or(parts) => Predicate::And(parts.into_iter().map(Predicate::negated).collect()),
            Predicate::Compare { column, op, literal } => Predicate::Compare { column, op: op.negated(), literal },
            Predicate::IsNull { column, null } => Predicate::IsNull { column, null: !null },
        }
    }

    /// The field ids of the columns it names.
    pub fn columns(&self) -> Vec<i32> {
        match self {
            Predicate::True | Predicate::Unknown => Vec::new(),
            Predicate::And(parts) | Predicate::Or(parts) => parts.iter().flat_map(Predicate::columns).collect(),
            Predicate::Compare { column, .. }
            | Predicate::StartsWith { column, .. }
            | Predicate::IsNull { column, .. } => {
                vec![*column]
            }
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
