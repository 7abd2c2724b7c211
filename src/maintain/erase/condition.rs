//! A condition held against rows: which of a batch satisfy it, as SQL has it. Pure.
//!
//! A comparison with null is unknown, and a row for which the whole is unknown does not satisfy it (three-valued logic;
//! NOT was pushed to the leaves when the condition was read). Where a file lacks some of the columns, as an equality
//! delete file does, what is not known is taken to hold: so more is found, never less.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, Scalar, StringArray, new_null_array};
use arrow::compute::kernels::cmp;
use arrow::compute::kernels::comparison::starts_with;
use arrow::compute::{and_kleene, cast, is_not_null, is_null, not, nullif, or_kleene, prep_null_mask_filter};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{Datum, Literal, NestedFieldRef, PrimitiveType, Schema, Transform, Type};
use laked_catalog::plan::{Op, Predicate};

use crate::error::{Error, Kind, Result};
use crate::maintain::compact::literal;

/// A condition over a table's columns.
#[derive(Clone, Debug)]
pub struct Condition {
    predicate: Predicate,
    schema: Schema,
    arrow: SchemaRef,
    columns: HashMap<i32, Column>,
}

/// A column that it names.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// The names that lead to it.
    pub names: Vec<String>,
    /// Its type.
    pub kind: PrimitiveType,
    arrow: DataType,
}

/// Where the columns of a batch are.
enum Batch<'a> {
    /// Those of the condition's schema, by name.
    Named(&'a RecordBatch),
    /// The same, of which only these are known.
    Knowing(&'a RecordBatch, &'a HashSet<i32>),
}

impl Condition {
    /// Of a condition that was read with this schema.
    ///
    /// # Errors
    /// `Invalid` for one that rows cannot be held against: part of a text, a column within a list.
    pub fn of(predicate: Predicate, schema: &Schema) -> Result<Condition> {
        if !is_exact(&predicate) {
            let message =
                "an erase takes only what every row can be held against: LIKE with a text and one % at its end";
            return Err(Error::new(Kind::Invalid, message));
        }
        let (mut columns, mut roots) = (HashMap::new(), Vec::<NestedFieldRef>::new());
        for id in predicate.columns() {
            let (root, names, kind) = schema
                .as_struct()
                .fields()
                .iter()
                .find_map(|root| found(root, id).map(|(names, kind)| (root.clone(), names, kind)))
                .ok_or_else(|| Error::new(Kind::Invalid, "a column within a list or map is in no one row's hands"))?;
            if !roots.iter().any(|known| known.id == root.id) {
                roots.push(root);
            }
            columns.insert(id, Column { names, kind, arrow: DataType::Null });
        }
        let unfit = |error| Error::new(Kind::Invalid, "the condition's columns make no schema").because(error);
        let schema = Schema::builder().with_fields(roots).build().map_err(unfit)?;
        let arrow = Arc::new(schema_to_arrow_schema(&schema).map_err(unfit)?);
        for column in columns.values_mut() {
            column.arrow = leaf_type(&arrow, &column.names).unwrap_or(DataType::Null);
        }
        Ok(Condition { predicate, schema, arrow, columns })
    }

    /// What prunes.
    pub fn predicate(&self) -> &Predicate {
        &self.predicate
    }

    /// The columns that are to be read, as the table has them and in Arrow.
    pub fn schema(&self) -> (&Schema, &SchemaRef) {
        (&self.schema, &self.arrow)
    }

    /// The column of a field id.
    pub(super) fn column(&self, id: i32) -> Option<&Column> {
        self.columns.get(&id)
    }

    /// The rows that satisfy it, of a batch that has the columns by their names; one that is missing is null.
    ///
    /// # Errors
    /// `Corrupt` for a column of another type.
    pub fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        self.judged(&Batch::Named(batch))
    }

    /// The rows that may satisfy it, where only some columns are known; nothing if none is.
    ///
    /// # Errors
    /// `Corrupt` for a column of another type.
    pub fn mask_knowing(&self, batch: &RecordBatch, known: &HashSet<i32>) -> Result<BooleanArray> {
        if self.columns.keys().all(|id| !known.contains(id)) {
            return Ok(all(batch.num_rows(), false));
        }
        self.judged(&Batch::Knowing(batch, known))
    }

    fn judged(&self, batch: &Batch<'_>) -> Result<BooleanArray> {
        let wrong = |error| Error::new(Kind::Corrupt, "a column cannot be held against the condition").because(error);
        let mask = self.of_part(&self.predicate, batch).map_err(wrong)?;
        Ok(if mask.null_count() > 0 { prep_null_mask_filter(&mask) } else { mask })
    }

    fn of_part(&self, part: &Predicate, batch: &Batch<'_>) -> Result<BooleanArray, ArrowError> {
        let rows = batch.rows();
        let joined = |parts: &[Predicate], neutral: bool, join: Join| {
            parts.iter().try_fold(all(rows, neutral), |mask, part| join(&mask, &self.of_part(part, batch)?))
        };
        match part {
            Predicate::True => Ok(all(rows, true)),
            Predicate::False | Predicate::Unknown => Ok(all(rows, false)),
            Predicate::And(parts) => joined(parts, true, and_kleene),
            Predicate::Or(parts) => joined(parts, false, or_kleene),
            leaf => self.of_leaf(leaf, batch),
        }
    }

    fn of_leaf(&self, leaf: &Predicate, batch: &Batch<'_>) -> Result<BooleanArray, ArrowError> {
        let Some((id, column)) = leaf.columns().first().and_then(|id| Some((*id, self.columns.get(id)?))) else {
            return Ok(all(batch.rows(), false));
        };
        if matches!(batch, Batch::Knowing(_, known) if !known.contains(&id)) {
            return Ok(all(batch.rows(), true));
        }
        let array = column.array(batch.of())?;
        match leaf {
            Predicate::Compare { op, literal, .. } => compared(&array, *op, &one(literal, &column.arrow)?),
            Predicate::In { literals, among, .. } => {
                let none = all(array.len(), false);
                let found = literals.iter().try_fold(none, |mask, literal| {
                    or_kleene(&mask, &compared(&array, Op::Eq, &one(literal, &column.arrow)?)?)
                })?;
                if *among { Ok(found) } else { not(&found) }
            }
            Predicate::StartsWith { prefix, starts, .. } => {
                let found = starts_with(&array, &Scalar::new(StringArray::from(vec![prefix.as_str()])))?;
                if *starts { Ok(found) } else { not(&found) }
            }
            Predicate::IsNull { null: true, .. } => is_null(&array),
            Predicate::IsNull { null: false, .. } => is_not_null(&array),
            Predicate::IsNan { nan, .. } => {
                let doubles = cast(&array, &DataType::Float64)?;
                let doubles = doubles.as_primitive::<arrow::datatypes::Float64Type>();
                Ok(doubles.iter().map(|value| value.map(|value| value.is_nan() == *nan)).collect())
            }
            _ => Ok(all(array.len(), false)),
        }
    }
}

type Join = fn(&BooleanArray, &BooleanArray) -> Result<BooleanArray, ArrowError>;

impl Batch<'_> {
    fn of(&self) -> &RecordBatch {
        match self {
            Batch::Named(batch) | Batch::Knowing(batch, _) => batch,
        }
    }

    fn rows(&self) -> usize {
        self.of().num_rows()
    }
}

impl Column {
    /// Its values in its type; null where what it lies in is null.
    fn array(&self, batch: &RecordBatch) -> Result<ArrayRef, ArrowError> {
        let mut names = self.names.iter();
        let root = names.next().and_then(|root| batch.column_by_name(root)).cloned();
        let Some(mut at) = root else { return Ok(new_null_array(&self.arrow, batch.num_rows())) };
        for name in names {
            let Some(inner) = at.as_struct_opt().and_then(|fields| fields.column_by_name(name)).cloned() else {
                return Ok(new_null_array(&self.arrow, batch.num_rows()));
            };
            at = nullif(&inner, &is_null(&at)?)?;
        }
        if at.data_type() == &self.arrow { Ok(at) } else { cast(&at, &self.arrow) }
    }
}

fn all(rows: usize, value: bool) -> BooleanArray {
    BooleanArray::from(vec![value; rows])
}

fn one(literal: &Datum, kind: &DataType) -> Result<Scalar<ArrayRef>, ArrowError> {
    literal::column(Some(&Literal::Primitive(literal.literal().clone())), kind, 1).map(Scalar::new)
}

fn compared(array: &ArrayRef, op: Op, with: &Scalar<ArrayRef>) -> Result<BooleanArray, ArrowError> {
    match op {
        Op::Eq => cmp::eq(array, with),
        Op::Ne => cmp::neq(array, with),
        Op::Lt => cmp::lt(array, with),
        Op::Le => cmp::lt_eq(array, with),
        Op::Gt => cmp::gt(array, with),
        Op::Ge => cmp::gt_eq(array, with),
    }
}

/// Whether rows can be held against every part.
fn is_exact(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::Unknown => false,
        Predicate::And(parts) | Predicate::Or(parts) => parts.iter().all(is_exact),
        Predicate::Compare { term, .. } | Predicate::In { term, .. } | Predicate::StartsWith { term, .. } => {
            term.transform == Transform::Identity
        }
        _ => true,
    }
}

/// The names that lead to a primitive field, and its type.
fn found(field: &NestedFieldRef, id: i32) -> Option<(Vec<String>, PrimitiveType)> {
    match field.field_type.as_ref() {
        Type::Primitive(kind) if field.id == id => Some((vec![field.name.clone()], kind.clone())),
        Type::Struct(inner) => {
            let (mut names, kind) = inner.fields().iter().find_map(|field| found(field, id))?;
            names.insert(0, field.name.clone());
            Some((names, kind))
        }
        _ => None,
    }
}

fn leaf_type(arrow: &SchemaRef, names: &[String]) -> Option<DataType> {
    let (root, rest) = names.split_first()?;
    let mut at = arrow.field_with_name(root).ok()?.data_type();
    for name in rest {
        let DataType::Struct(fields) = at else { return None };
        at = fields.find(name)?.1.data_type();
    }
    Some(at.clone())
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, Int64Array, StructArray};
    use arrow::datatypes::{Field, Int8Type};
    use iceberg::spec::{NestedField, StructType};

    use super::*;

    fn schema() -> Schema {
        let field = |id, name: &str, kind| NestedField::optional(id, name, Type::Primitive(kind)).into();
        let inner = StructType::new(vec![field(4, "city", PrimitiveType::String)]);
        let fields = vec![
            field(1, "who", PrimitiveType::String),
            field(2, "n", PrimitiveType::Long),
            NestedField::optional(3, "home", Type::Struct(inner)).into(),
        ];
        Schema::builder().with_fields(fields).build().expect("a schema")
    }

    fn batch() -> RecordBatch {
        let who: DictionaryArray<Int8Type> = vec![Some("ann"), Some("bob"), None, Some("anna")].into_iter().collect();
        let city: ArrayRef = Arc::new(StringArray::from(vec![Some("Rome"), Some("Rome"), Some("Oslo"), None]));
        let home = StructArray::try_new(
            vec![Field::new("city", DataType::Utf8, true)].into(),
            vec![city],
            Some(vec![true, false, true, true].into()),
        );
        RecordBatch::try_from_iter([
            ("home", Arc::new(home.expect("a struct")) as ArrayRef),
            ("who", Arc::new(who)),
            ("n", Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(3), None]))),
        ])
        .expect("a batch")
    }

    fn rows(predicate: Predicate) -> Vec<usize> {
        let condition = Condition::of(predicate, &schema()).expect("a condition");
        condition.mask(&batch()).expect("a mask").values().set_indices().collect()
    }

    fn who(op: Op, name: &str) -> Predicate {
        Predicate::compare(1, op, Datum::string(name))
    }

    #[test]
    fn rows_satisfy_it_as_sql_has_it() {
        assert_eq!(rows(who(Op::Eq, "ann")), [0]);
        assert_eq!(rows(who(Op::Ne, "ann")), [1, 3], "null is neither");
        assert_eq!(rows(Predicate::starts_with(1, "ann")), [0, 3]);
        assert_eq!(rows(Predicate::Or(vec![who(Op::Eq, "bob"), Predicate::IsNull { column: 2, null: true }])), [1, 3]);
        let both = Predicate::And(vec![who(Op::Ge, "ann"), Predicate::compare(2, Op::Le, Datum::long(1))]);
        assert_eq!(rows(both), [0]);
        assert_eq!(rows(Predicate::compare(4, Op::Eq, Datum::string("Rome"))), [0], "a null home has no city");
    }

    #[test]
    fn what_is_not_known_may_hold() {
        let both = Predicate::And(vec![who(Op::Eq, "ann"), Predicate::compare(2, Op::Eq, Datum::long(9))]);
        let condition = Condition::of(both, &schema()).expect("a condition");
        let knowing = |ids: &[i32]| {
            let known = ids.iter().copied().collect();
            let mask = condition.mask_knowing(&batch(), &known).expect("a mask");
            mask.values().set_indices().collect::<Vec<_>>()
        };
        assert_eq!(knowing(&[1]), [0]);
        assert_eq!(knowing(&[1, 2]), [] as [usize; 0]);
        assert_eq!(knowing(&[3]), [] as [usize; 0], "a delete of other columns tells nothing of the person");
    }

    #[test]
    fn a_part_of_a_text_is_refused() {
        assert!(Condition::of(Predicate::And(vec![who(Op::Eq, "a"), Predicate::Unknown]), &schema()).is_err());
    }
}
