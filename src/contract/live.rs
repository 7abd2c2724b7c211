//! The contract that a table carries, and what may follow it.
//!
//! A table's properties name its contract and hold its text, so that the rules of its records are read from the table
//! alone: by a daemon whose folder has another version already, by one on another machine, from a backup. They are set
//! when the table is made and by `lakectl apply`, in the commit that fits the schema.

use std::collections::HashMap;

use iceberg::TableIdent;
use iceberg::spec::{Schema, TableMetadata};

use super::evolve::widens;
use super::{Contract, Judgement, judge, property};
use crate::error::{Error, Kind, Result};

/// What a table's properties say of its contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its version.
    pub version: u32,
    /// Its hash.
    pub hash: String,
    /// Its text, where the table holds it.
    pub text: Option<String>,
}

impl Stamp {
    /// Of the table `id`. None where there is none, or another table's: a table that was renamed, or made from another
    /// one's properties, is no longer of that contract.
    pub fn of(id: &str, properties: &HashMap<String, String>) -> Option<Stamp> {
        let said = |key: &str| properties.get(key);
        if said(property::ID)? != id {
            return None;
        }
        let (version, hash) = (said(property::VERSION)?.parse().ok()?, said(property::HASH)?.clone());
        Some(Stamp { version, hash, text: said(property::TEXT).cloned() })
    }

    /// The contract whose text it holds.
    ///
    /// # Errors
    /// `Corrupt` if the text is not what hash and version say, or no contract of that table.
    pub fn contract(&self, ident: &TableIdent) -> Result<Option<Contract>> {
        let Some(text) = &self.text else { return Ok(None) };
        let origin = format!("{}/{}.toml", ident.namespace().join("."), ident.name());
        let wrong = |why: &str| {
            let message = format!("the table's `{}` {why}; apply its contract anew", property::TEXT);
            Error::new(Kind::Corrupt, message).with("table", &origin)
        };
        let contract = Contract::parse(text, &origin).map_err(|error| wrong("is no contract").because(error))?;
        if contract.hash() != self.hash || contract.version != self.version || contract.ident() != ident {
            return Err(wrong("is another one than its hash, version and id say"));
        }
        Ok(Some(contract))
    }
}

/// The contract that a table carries, if it carries one.
///
/// # Errors
/// As [`Stamp::contract`].
pub fn carried(ident: &TableIdent, metadata: &TableMetadata) -> Result<Option<Contract>> {
    let id = format!("{}.{}", ident.namespace().join("."), ident.name());
    Stamp::of(&id, metadata.properties()).map_or(Ok(None), |stamp| stamp.contract(ident))
}

/// Why `new` cannot follow what a table has: a version stands for one text and never falls, and a field keeps the names
/// it had, because records that were judged by an older version may still wait under them.
pub fn succeeds(stamp: &Stamp, old: Option<&Contract>, new: &Contract) -> Vec<String> {
    let (had, next) = (stamp.version, stamp.version.saturating_add(1));
    if new.hash() == stamp.hash {
        return Vec::new();
    }
    if new.version < had {
        let instead = format!("take the newer one, or raise its version to {next}");
        return vec![format!(
            "the table has version {had} of its contract already, this is {}: {instead}",
            new.version
        )];
    }
    if new.version == had {
        return vec![format!("version {had} was published with another text: raise the version to {next}")];
    }
    let mut reasons = Vec::new();
    for before in old.map(Contract::fields).unwrap_or_default() {
        let goes_on = |field: &&super::Field| field.name == before.name || field.was.contains(&before.name);
        let Some(after) = new.fields().iter().find(goes_on) else { continue };
        if let Some(lost) = before.was.iter().find(|was| !after.was.contains(was)) {
            let name = &after.name;
            reasons
                .push(format!("`{name}` was `{lost}` once: keep that in its `was`, records from then may still wait"));
        }
    }
    reasons
}

/// Why a table whose schema changes from `before` to `after` could not take what `new` lets in.
pub fn takes(new: &Contract, before: &Schema, after: &Schema) -> Vec<String> {
    let mut reasons = Vec::new();
    let column = |schema: &Schema, name: &str| schema.as_struct().field_by_name(name).cloned();
    for field in new.fields() {
        let (name, wanted) = (&field.name, *field.iceberg().field_type);
        let Some(is) = column(after, name) else {
            reasons.push(format!("`{name}` is not in the table"));
            continue;
        };
        if *is.field_type != wanted && !widens(&wanted, &is.field_type) {
            reasons.push(format!("`{name}` is {wanted} in the contract, {} in the table", is.field_type));
        }
        if is.required && !field.required {
            reasons.push(format!("`{name}` is optional in the contract, required in the table"));
        }
        let was = || field.was.iter().filter(|was| new.field(was).is_none()).find_map(|was| column(before, was));
        if column(before, name).or_else(was).is_some_and(|before| before.id != is.id) {
            reasons.push(format!("`{name}` is another column than before, without its values"));
        }
    }
    let foreign =
        after.as_struct().fields().iter().filter(|column| column.required && new.field(&column.name).is_none());
    reasons.extend(foreign.map(|column| format!("`{}` is not in the contract, and is required", column.name)));
    reasons
}

/// Judges a change of a table that comes from elsewhere: one that names another contract by what that contract asks, any
/// other by the one the table has, or by `known` where the table does not carry one that can be read.
pub fn judge_successor(
    ident: &TableIdent,
    known: Option<&Contract>,
    before: Option<&TableMetadata>,
    after: &TableMetadata,
) -> Judgement {
    // Nearly every commit: nothing is read for it.
    if before.is_some_and(|before| is_untouched(before, after)) {
        return Judgement::Pass;
    }
    let id = format!("{}.{}", ident.namespace().join("."), ident.name());
    let named = before.map(|before| (before, Stamp::of(&id, before.properties()), Stamp::of(&id, after.properties())));
    let stamp = named.as_ref().and_then(|(_, stamp, _)| stamp.as_ref());
    let carried = stamp.and_then(|stamp| stamp.contract(ident).ok().flatten());
    match named {
        Some((before, was, is)) if was != is => adoption(ident, (before, after), (was, is), carried.as_ref()),
        _ => match carried.as_ref().or(known) {
            Some(contract) => judge(contract, before, after),
            None => Judgement::Pass,
        },
    }
}

/// Whether a commit leaves schema and contract as they are.
fn is_untouched(before: &TableMetadata, after: &TableMetadata) -> bool {
    let same = |key: &&str| before.properties().get(*key) == after.properties().get(*key);
    let names = [property::ID, property::VERSION, property::HASH, property::TEXT];
    names.iter().all(same) && before.current_schema() == after.current_schema()
}

fn adoption(
    ident: &TableIdent,
    (before, after): (&TableMetadata, &TableMetadata),
    (was, is): (Option<Stamp>, Option<Stamp>),
    old: Option<&Contract>,
) -> Judgement {
    let refuse = |why: &str| {
        let message = format!("the contract of {ident} is set by `lakectl apply`, and this one cannot be: {why}");
        Judgement::Refuse(Error::new(Kind::Forbidden, message))
    };
    let Some(stamp) = is else { return refuse("there is none; remove the table, or leave its laked.contract.*") };
    let new = match stamp.contract(ident) {
        Ok(Some(new)) => new,
        Ok(None) => return refuse("its text is missing"),
        Err(error) => return refuse(&error.to_string()),
    };
    let mut reasons = was.map(|was| succeeds(&was, old, &new)).unwrap_or_default();
    reasons.extend(takes(&new, before.current_schema(), after.current_schema()));
    if reasons.is_empty() { Judgement::Pass } else { refuse(&reasons.join(". ")) }
}

#[cfg(test)]
mod tests {
    use iceberg::TableCreation;
    use iceberg::spec::TableMetadataBuilder;

    use super::*;

    fn of(version: u32, fields: &str) -> Contract {
        Contract::parse(&format!("[table]\nversion = {version}\n[fields]\n{fields}"), "a/b.toml").unwrap()
    }

    fn table(contract: &Contract, schema: &Contract) -> TableMetadata {
        let mut properties = contract.properties();
        properties.remove("format-version");
        let creation = TableCreation::builder()
            .name("b".to_owned())
            .location("file:///w/a/b".to_owned())
            .schema(schema.iceberg_schema().clone())
            .properties(properties)
            .build();
        TableMetadataBuilder::from_table_creation(creation).unwrap().build().unwrap().metadata
    }

    fn refusal(before: &TableMetadata, after: &TableMetadata) -> Option<String> {
        match judge_successor(&TableIdent::from_strs(["a", "b"]).unwrap(), None, Some(before), after) {
            Judgement::Pass => None,
            Judgement::Warn(warning) => panic!("{warning}"),
            Judgement::Refuse(error) => Some(error.to_string()),
        }
    }

    #[test]
    fn a_table_carries_its_contract() {
        let contract = of(1, "n = \"int\"");
        let ident = contract.ident().clone();
        let metadata = table(&contract, &contract);
        assert_eq!(carried(&ident, &metadata).unwrap().unwrap().hash(), contract.hash());
        let other = TableIdent::from_strs(["a", "renamed"]).unwrap();
        assert!(carried(&other, &metadata).unwrap().is_none(), "a renamed table is of no contract");
        let text = of(1, "n = \"long\"").text().to_owned();
        let forged = Stamp { text: Some(text), version: 1, hash: contract.hash().to_owned() };
        assert_eq!(forged.contract(&ident).unwrap_err().kind(), Kind::Corrupt);
    }

    #[test]
    fn a_version_stands_for_one_text_and_never_falls() {
        let (first, second) = (of(1, "n = \"int\""), of(2, "n = \"int\""));
        let stamp = |contract: &Contract| Stamp::of("a.b", &contract.properties()).unwrap();
        assert!(succeeds(&stamp(&first), Some(&first), &second).is_empty());
        assert!(succeeds(&stamp(&second), Some(&second), &second).is_empty());
        assert!(succeeds(&stamp(&second), Some(&second), &first)[0].contains("version 2 of its contract already"));
        assert!(succeeds(&stamp(&first), Some(&first), &of(1, "n = \"long\""))[0].contains("raise the version to 2"));
        let renamed = of(2, "m = { type = \"int\", was = \"n\" }");
        assert!(succeeds(&stamp(&first), Some(&first), &renamed).is_empty());
        let forgets = of(3, "k = { type = \"int\", was = \"m\" }");
        assert!(succeeds(&stamp(&renamed), Some(&renamed), &forgets)[0].contains("`k` was `n` once"));
    }

    #[test]
    fn the_guard_lets_a_contract_follow_that_the_table_can_take() {
        let first = of(1, "n = \"int\"");
        let before = table(&first, &first);
        let second = of(2, "n = \"int\"\nm = \"string\"");
        assert_eq!(refusal(&before, &table(&second, &second)), None);
        assert!(refusal(&before, &table(&second, &first)).unwrap().contains("`m` is not in the table"));
        assert!(refusal(&table(&second, &second), &table(&first, &second)).unwrap().contains("version 2"));
        let bare = table(&second, &second).into_builder(None).remove_properties(&[property::TEXT.to_owned()]).unwrap();
        assert!(refusal(&before, &bare.build().unwrap().metadata).unwrap().contains("its text is missing"));
        let renamed = of(2, "m = { type = \"int\", was = \"n\" }");
        assert_eq!(refusal(&before, &table(&renamed, &renamed)), None, "ids say that it is the column");
        // What names no other contract is held to the one the table carries, whatever a folder has.
        assert!(refusal(&table(&second, &second), &table(&second, &first)).unwrap().contains("remove `m`"));
    }
}
