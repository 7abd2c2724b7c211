//! What a table says about its files: columns, partition spec, sort order, location and `write.*` properties.
//!
//! Read once from the table's metadata into a plain value, so that the writers never look at properties or resolve
//! field ids while rows flow. A [`Layout`] is that of the metadata it came from: after an evolution make a new one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef as ArrowSchemaRef;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{
    FormatVersion, NestedField, NullOrder, PartitionSpecRef, PrimitiveType, Schema, SchemaRef, SortDirection,
    SortOrder, Struct, TableMetadata, Transform,
};

use parquet::schema::types::SchemaDescPtr;

use super::settings::Settings;
use super::{encode, path};
use crate::error::{Error, Kind, Result};

/// How the rows of one table become files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(super) inner: Arc<Inner>,
}

#[derive(Clone, Debug)]
pub(super) struct Inner {
    /// The table's current schema.
    pub schema: SchemaRef,
    /// The same in Arrow, with field ids in the fields' metadata.
    pub arrow: ArrowSchemaRef,
    /// The same in Parquet.
    pub parquet: SchemaDescPtr,
    /// The default partition spec.
    pub spec: PartitionSpecRef,
    /// One for each field of the spec.
    pub partition: Vec<PartitionColumn>,
    /// One for each field of the sort order; empty if the table is unsorted.
    pub order: Vec<OrderColumn>,
    /// The sort order's id, as data files name it.
    pub order_id: i32,
    /// Where data files go: a URI without a slash at its end.
    pub data_location: String,
    /// Encoding, file and row group sizes, metrics.
    pub settings: Settings,
    /// Incoming column name → column of the table.
    pub names: HashMap<String, usize>,
}

/// A field of the partition spec.
#[derive(Clone, Debug)]
pub(super) struct PartitionColumn {
    pub column: usize,
    pub transform: Transform,
    /// The partition field's name, as directories show it.
    pub name: String,
    pub result: PrimitiveType,
}

/// A field of the sort order.
#[derive(Clone, Debug)]
pub(super) struct OrderColumn {
    pub column: usize,
    pub transform: Transform,
    pub descending: bool,
    pub nulls_first: bool,
}

impl Layout {
    /// The layout that `metadata` asks for: its current schema, default spec and default sort order.
    ///
    /// # Errors
    /// `Invalid` if a property cannot be read, or a partition or sort field has a source that is not a top-level
    /// column or a transform this version does not know.
    pub fn of(metadata: &TableMetadata) -> Result<Self> {
        let schema = metadata.current_schema().clone();
        let spec = metadata.default_partition_spec().clone();
        let partition = partition_columns(&spec, &schema)?;
        let order = order_columns(metadata.default_sort_order(), &schema)?;
        Self::with(metadata, schema, (spec, partition), order)
    }

    /// The layout for rows that are in the table's files already: the current schema, with the columns of row lineage
    /// where the format has them; the partition spec `spec_id`; in the table's order if `sorted`.
    ///
    /// # Errors
    /// `Corrupt` if there is no such spec; as [`Layout::of`].
    pub fn rewriting(metadata: &TableMetadata, spec_id: i32, sorted: bool) -> Result<Self> {
        let gone = || Error::new(Kind::Corrupt, "a file's partition spec is not in the table").with("spec", spec_id);
        let spec = metadata.partition_spec_by_id(spec_id).ok_or_else(gone)?.clone();
        let schema = match metadata.format_version() {
            FormatVersion::V3 => Arc::new(with_lineage(metadata.current_schema())?),
            _ => metadata.current_schema().clone(),
        };
        let partition =
            spec.fields().iter().map(|field| older_column(metadata, &schema, field)).collect::<Result<_>>()?;
        let order = match sorted {
            true => order_columns(metadata.default_sort_order(), &schema)?,
            false => Vec::new(),
        };
        let mut layout = Self::with(metadata, schema, (spec, partition), order)?;
        if let Some(inner) = Arc::get_mut(&mut layout.inner) {
            inner.settings.metrics.retain(|id, _| LINEAGE.iter().all(|(own, _)| own != id));
        }
        Ok(layout)
    }

    /// The same, if rows can be routed by it.
    ///
    /// # Errors
    /// `Invalid` if a partition field's column is no column of the table's, or lies within another.
    pub fn routing(self) -> Result<Self> {
        let columns = self.inner.schema.as_struct().fields().len();
        let lost = |field: &&PartitionColumn| field.column >= columns && field.transform != Transform::Void;
        match self.inner.partition.iter().find(lost) {
            None => Ok(self),
            Some(field) => {
                let why = "laked cannot write by a partition field whose column is nested or dropped";
                Err(Error::new(Kind::Invalid, why).with("field", &field.name))
            }
        }
    }

    fn with(
        metadata: &TableMetadata,
        schema: SchemaRef,
        (spec, partition): (PartitionSpecRef, Vec<PartitionColumn>),
        order: Vec<OrderColumn>,
    ) -> Result<Self> {
        let arrow = schema_to_arrow_schema(&schema).map_err(|e| {
            Error::new(Kind::Invalid, "the table's schema has a type that cannot be written").because(e)
        })?;
        let parquet = encode::parquet_schema(&arrow, &schema)?;
        let order_id = match order.is_empty() {
            true => 0,
            false => i32::try_from(metadata.default_sort_order().order_id).unwrap_or_default(),
        };
        let settings = Settings::of(metadata, &schema)?;
        let names = arrow.fields().iter().enumerate().map(|(i, f)| (f.name().clone(), i)).collect();
        let data_location = path::data_location(metadata);
        let arrow = Arc::new(arrow);
        let inner = Inner { schema, arrow, parquet, spec, partition, order, order_id, data_location, settings, names };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same, with incoming columns named by `names` (name → field id) where the table calls them otherwise.
    ///
    /// # Errors
    /// `Invalid` if an id is not that of a top-level column.
    pub fn with_names(self, names: &BTreeMap<String, i32>) -> Result<Self> {
        let mut inner = Arc::unwrap_or_clone(self.inner);
        for (name, &id) in names {
            let column = column_of(&inner.schema, id, "name map")?;
            inner.names.insert(name.clone(), column);
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The schema the files will have.
    pub fn schema(&self) -> &SchemaRef {
        &self.inner.schema
    }

    /// The same in Arrow.
    pub fn arrow(&self) -> &ArrowSchemaRef {
        &self.inner.arrow
    }

    /// The id of the order that rows are put in; 0 for none.
    pub fn order_id(&self) -> i32 {
        self.inner.order_id
    }

    /// Whether rows are put in an order.
    pub fn is_sorted(&self) -> bool {
        !self.inner.order.is_empty()
    }

    /// The size at which a file is closed, in bytes.
    pub fn target_file_size(&self) -> u64 {
        self.inner.settings.target_file_size
    }

    /// Where a partition's files go, below the data: `country=TW/day=2025-01-31/`.
    pub fn partition_path(&self, value: &Struct) -> String {
        path::partition_path(&self.inner.partition, value)
    }
}

/// The columns of row lineage (specification, "Row Lineage"): reserved field ids and names.
pub const LINEAGE: [(i32, &str); 2] = [(2_147_483_540, "_row_id"), (2_147_483_539, "_last_updated_sequence_number")];

fn with_lineage(schema: &Schema) -> Result<Schema> {
    let column = |(id, name): &(i32, &str)| {
        NestedField::optional(*id, *name, iceberg::spec::Type::Primitive(PrimitiveType::Long)).into()
    };
    let fields = schema.as_struct().fields().iter().cloned().chain(LINEAGE.iter().map(column));
    Schema::builder().with_schema_id(schema.schema_id()).with_fields(fields).build().map_err(|error| {
        Error::new(Kind::Invalid, "the columns of row lineage have no place in the table's schema").because(error)
    })
}

/// A partition field of any spec: its column may be gone, or lie within another.
fn older_column(
    metadata: &TableMetadata,
    schema: &Schema,
    field: &iceberg::spec::PartitionField,
) -> Result<PartitionColumn> {
    let gone = || Error::new(Kind::Corrupt, "a partition field's column is in no schema").with("field", &field.name);
    let mut schemas = std::iter::once(metadata.current_schema()).chain(metadata.schemas_iter());
    let source = schemas.find_map(|schema| schema.field_by_id(field.source_id)).ok_or_else(gone)?;
    let result = field.transform.result_type(&source.field_type).map_err(|error| gone().because(error))?;
    Ok(PartitionColumn {
        column: schema.as_struct().fields().iter().position(|f| f.id == field.source_id).unwrap_or(usize::MAX),
        transform: field.transform,
        name: field.name.clone(),
        result: result.as_primitive_type().cloned().unwrap_or(PrimitiveType::Int),
    })
}

fn column_of(schema: &Schema, id: i32, what: &'static str) -> Result<usize> {
    schema.as_struct().fields().iter().position(|field| field.id == id).ok_or_else(|| {
        Error::new(Kind::Invalid, format!("the {what} names a field that is no top-level column of the table"))
            .with("field id", id)
    })
}

fn primitive(schema: &Schema, column: usize) -> Result<PrimitiveType> {
    let field = &schema.as_struct().fields()[column];
    field.field_type.as_primitive_type().cloned().ok_or_else(|| {
        Error::new(Kind::Invalid, "a partition or sort field must be of a primitive type").with("field", &field.name)
    })
}

fn known(transform: Transform, name: &str) -> Result<Transform> {
    match transform {
        Transform::Unknown => {
            Err(Error::new(Kind::Invalid, "this transform is not known to this version of laked").with("field", name))
        }
        known => Ok(known),
    }
}

fn partition_columns(spec: &PartitionSpecRef, schema: &Schema) -> Result<Vec<PartitionColumn>> {
    let column = |field: &iceberg::spec::PartitionField| {
        let column = column_of(schema, field.source_id, "partition spec")?;
        let transform = known(field.transform, &field.name)?;
        let source = primitive(schema, column)?;
        let result = transform.result_type(&iceberg::spec::Type::Primitive(source)).map_err(|e| {
            Error::new(Kind::Invalid, "the partition spec does not fit the schema")
                .with("field", &field.name)
                .because(e)
        })?;
        let result = result.as_primitive_type().cloned().unwrap_or(PrimitiveType::Int);
        Ok(PartitionColumn { column, transform, name: field.name.clone(), result })
    };
    spec.fields().iter().map(column).collect()
}

fn order_columns(order: &SortOrder, schema: &Schema) -> Result<Vec<OrderColumn>> {
    let column = |field: &iceberg::spec::SortField| {
        let column = column_of(schema, field.source_id, "sort order")?;
        let name = &schema.as_struct().fields()[column].name;
        primitive(schema, column)?;
        Ok(OrderColumn {
            column,
            transform: known(field.transform, name)?,
            descending: field.direction == SortDirection::Descending,
            nulls_first: field.null_order == NullOrder::First,
        })
    };
    order.fields.iter().filter(|field| field.transform != Transform::Void).map(column).collect()
}
