//! A schema as a tree of fields: found by path, changed in place, built again.
//!
//! A path is names joined by dots, as Iceberg writes them: `a.b` within a struct, `a.element` of a list, `a.key` and
//! `a.value` of a map. A name may hold dots itself, so a field is found by comparing whole names with what is left.

use std::sync::Arc;

use iceberg::spec::{ListType, MapType, NestedField, NestedFieldRef, StructType, Type};

use crate::error::Result;

/// The fields beneath a type: those of a struct, the element of a list, key and value of a map.
pub fn children(of: &Type) -> Vec<NestedFieldRef> {
    match of {
        Type::Primitive(_) => Vec::new(),
        Type::Struct(fields) => fields.fields().to_vec(),
        Type::List(list) => vec![list.element_field.clone()],
        Type::Map(map) => vec![map.key_field.clone(), map.value_field.clone()],
    }
}

/// The same type over other fields.
fn over(of: &Type, mut fields: Vec<NestedFieldRef>) -> Type {
    match of {
        Type::Primitive(_) => of.clone(),
        Type::Struct(_) => Type::Struct(StructType::new(fields)),
        Type::List(list) => Type::List(ListType::new(fields.pop().unwrap_or_else(|| list.element_field.clone()))),
        Type::Map(map) => {
            let value = fields.pop().unwrap_or_else(|| map.value_field.clone());
            Type::Map(MapType::new(fields.pop().unwrap_or_else(|| map.key_field.clone()), value))
        }
    }
}

/// What is below a field of that name on the way to `path`: empty if it is the field itself.
fn below<'a>(name: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(name)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}

/// The field at a path.
pub fn find(fields: &[NestedFieldRef], path: &str) -> Option<NestedFieldRef> {
    fields.iter().find_map(|field| match below(&field.name, path)? {
        "" => Some(field.clone()),
        rest => find(&children(&field.field_type), rest),
    })
}

/// Changes the list of fields that holds the one at `path`; `change` gets it and the field's place in it. False if there
/// is no such field.
pub fn change_at(
    fields: &mut Vec<NestedFieldRef>,
    path: &str,
    change: &mut dyn FnMut(&mut Vec<NestedFieldRef>, usize) -> Result<()>,
) -> Result<bool> {
    for at in 0..fields.len() {
        match below(&fields[at].name, path) {
            None => {}
            Some("") => return change(fields, at).map(|()| true),
            Some(rest) => {
                let mut inner = children(&fields[at].field_type);
                if change_at(&mut inner, rest, change)? {
                    let field = fields[at].as_ref().clone();
                    let field_type = Box::new(over(&field.field_type, inner));
                    fields[at] = Arc::new(NestedField { field_type, ..field });
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// A type with new ids for every field beneath it.
pub fn numbered(of: &Type, next: &mut i32) -> Type {
    let fields: Vec<NestedField> = children(of)
        .iter()
        .map(|field| {
            *next += 1;
            NestedField { id: *next, ..field.as_ref().clone() }
        })
        .collect();
    // Ids of a level come before those of the next, as other writers assign them.
    let inner = |field: NestedField, next: &mut i32| {
        let field_type = Box::new(numbered(&field.field_type, next));
        Arc::new(NestedField { field_type, ..field })
    };
    over(of, fields.into_iter().map(|field| inner(field, next)).collect())
}

/// Every field with its path, parents before children.
pub fn flat(fields: &[NestedFieldRef]) -> Vec<(String, NestedFieldRef)> {
    let mut all = Vec::new();
    for field in fields {
        all.push((field.name.clone(), field.clone()));
        let inner = flat(&children(&field.field_type));
        all.extend(inner.into_iter().map(|(path, inner)| (format!("{}.{path}", field.name), inner)));
    }
    all
}
