//! What of a live table changes for a contract: columns are added, renamed, widened, described, allowed to be null.
//!
//! Only what takes nothing from readers and fits records that were judged before, and may wait in a spool: a column is
//! never dropped, narrowed or required. A field that is required from now on is required of records; its column may still
//! be null, because rows from before may lack it. A field that the contract no longer has keeps its column, which may be
//! null then. A type that cannot be promoted is refused. Columns go by their names, and by the earlier names that a field
//! gives in `was`; a layout is not compared here ([`super::unlike`]).

use iceberg::spec::{NestedField, Schema, Type};

use super::evolve::widens;
use super::{Contract, Field};

/// A change of one column.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A new one.
    Add {
        /// Its name.
        name: String,
        /// Its type.
        to: Type,
        /// What it means.
        doc: Option<String>,
        /// The column it follows; the first one if none.
        after: Option<String>,
    },
    /// Another name.
    Rename {
        /// Its name so far.
        from: String,
        /// Its name then.
        to: String,
    },
    /// A wider type.
    Widen {
        /// Its name.
        name: String,
        /// Its type then.
        to: Type,
    },
    /// It may be null.
    Optional {
        /// Its name.
        name: String,
    },
    /// What it means.
    Describe {
        /// Its name.
        name: String,
        /// The text; empty for none.
        doc: String,
    },
}

/// What is to be done, what is left as it is, and what cannot be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// In this order.
    pub changes: Vec<Change>,
    /// Differences that stay, and why.
    pub kept: Vec<String>,
    /// Why the contract cannot be that table's.
    pub refused: Vec<String>,
}

/// What of a table's schema changes for `contract`. `old` is the one it had, where that is known.
pub fn changes(contract: &Contract, old: Option<&Contract>, schema: &Schema) -> Changes {
    let mut found = Changes::default();
    let mut taken = Vec::new();
    let mut before = None;
    for field in contract.fields() {
        match column(contract, field, schema) {
            Some(column) => {
                taken.push(column.id);
                found.compare(field, column);
            }
            None => found.add(field, before),
        }
        before = Some(field.name.clone());
    }
    for column in schema.as_struct().fields().iter().filter(|column| !taken.contains(&column.id)) {
        found.leave(column, contract, old);
    }
    found
}

/// The column of a field: that of its name, or of one that it had.
fn column<'a>(contract: &Contract, field: &Field, schema: &'a Schema) -> Option<&'a NestedField> {
    let named = |name: &str| schema.as_struct().field_by_name(name).map(AsRef::as_ref);
    let was = || field.was.iter().filter(|was| contract.field(was).is_none()).find_map(|was| named(was));
    named(&field.name).or_else(was)
}

impl Changes {
    fn add(&mut self, field: &Field, after: Option<String>) {
        let NestedField { field_type, doc, .. } = field.iceberg();
        self.changes.push(Change::Add { name: field.name.clone(), to: *field_type, doc, after });
        if field.required {
            self.required_of_records(&field.name);
        }
    }

    fn required_of_records(&mut self, name: &str) {
        let why = "rows from before may lack it";
        self.kept.push(format!("`{name}` is required of records; its column may be null, because {why}"));
    }

    fn compare(&mut self, field: &Field, column: &NestedField) {
        let (name, wanted) = (&field.name, field.iceberg());
        if column.name != *name {
            self.changes.push(Change::Rename { from: column.name.clone(), to: name.clone() });
        }
        let (is, to) = (&*column.field_type, &*wanted.field_type);
        if widens(is, to) {
            self.changes.push(Change::Widen { name: name.clone(), to: to.clone() });
        } else if widens(to, is) {
            self.kept.push(format!("`{name}` is {to} in the contract and {is} in the table: the wider one holds both"));
        } else if is != to {
            let advice = "give the new field another name, and let both be there until nobody reads the old one";
            self.refused.push(format!("`{name}` is {is} in the table, which cannot be read as {to}: {advice}"));
        }
        match (column.required, field.required) {
            (true, false) => self.changes.push(Change::Optional { name: name.clone() }),
            (false, true) => self.required_of_records(name),
            _ => {}
        }
        if column.doc != wanted.doc {
            self.changes.push(Change::Describe { name: name.clone(), doc: wanted.doc.unwrap_or_default() });
        }
    }

    /// A column that the contract has no field for.
    fn leave(&mut self, column: &NestedField, contract: &Contract, old: Option<&Contract>) {
        let name = &column.name;
        if column.required {
            self.changes.push(Change::Optional { name: name.clone() });
        }
        if old.is_some_and(|old| old.field(name).is_some()) {
            let drop = format!("`lakectl evolve-schema {} drop {name}`", contract.id());
            self.kept
                .push(format!("`{name}` is no longer in the contract: its column stays and is null; {drop} ends it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &str) -> Contract {
        Contract::parse(&format!("[fields]\n{fields}"), "a/b.toml").unwrap()
    }

    #[test]
    fn a_table_gets_what_takes_nothing_from_its_readers() {
        let old =
            of("id = { type = \"string\", required = true }\nn = \"int\"\nm = { type = \"long\", required = true }\n\
                      x = { type = \"float\", doc = \"Old.\" }");
        let new = of("id = \"string\"\nnew = { type = \"date\", required = true, doc = \"New.\" }\nn = \"long\"\n\
                      y = { type = \"double\", was = \"x\" }");
        let found = changes(&new, Some(&old), old.iceberg_schema());
        let name = |name: &str| name.to_owned();
        let primitive = |field: &str| *new.field(field).unwrap().iceberg().field_type;
        assert_eq!(
            found.changes,
            [
                Change::Optional { name: name("id") },
                Change::Add {
                    name: name("new"),
                    to: primitive("new"),
                    doc: Some(name("New.")),
                    after: Some(name("id"))
                },
                Change::Widen { name: name("n"), to: primitive("n") },
                Change::Rename { from: name("x"), to: name("y") },
                Change::Widen { name: name("y"), to: primitive("y") },
                Change::Describe { name: name("y"), doc: String::new() },
                Change::Optional { name: name("m") },
            ]
        );
        assert!(found.refused.is_empty() && found.kept.len() == 2, "{found:?}");
        assert!(
            found.kept[0].contains("`new` is required of records") && found.kept[1].contains("drop m"),
            "{found:?}"
        );
        assert_eq!(changes(&old, Some(&old), old.iceberg_schema()), Changes::default());
    }

    #[test]
    fn a_type_that_readers_could_not_read_is_refused_and_a_narrower_one_kept() {
        let old = of("a = \"string\"\nb = \"long\"\nc = \"decimal(9,2)\"");
        let found = changes(&of("a = \"long\"\nb = \"int\"\nc = \"decimal(12,3)\""), None, old.iceberg_schema());
        assert!(found.changes.is_empty(), "{found:?}");
        assert!(found.refused[0].starts_with("`a` is string") && found.refused[1].starts_with("`c` is decimal"));
        assert!(found.kept[0].starts_with("`b` is int"), "{found:?}");
    }
}
