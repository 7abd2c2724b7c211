//! The keys of one TOML table, checked against those that are known, and readers of their values.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Notes;

pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// The entries of a table in the order of the file.
pub(super) struct Keys<'a, 'i> {
    entries: Vec<(&'a str, Range<usize>, &'a Value<'i>)>,
}

impl<'a, 'i> Keys<'a, 'i> {
    /// All entries, none refused.
    pub(super) fn all(table: &'a DeTable<'i>) -> Self {
        let mut entries: Vec<_> =
            table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        Self { entries }
    }

    /// No entries.
    pub(super) fn none() -> Self {
        Self { entries: Vec::new() }
    }

    /// The entries of a table whose keys are `known`; the others are noted.
    pub(super) fn of(table: &'a DeTable<'i>, known: &[&str], place: &str, notes: &mut Notes<'_>) -> Self {
        let keys = Self::all(table);
        for (key, span, _) in keys.entries.iter().filter(|(key, ..)| !known.contains(key)) {
            let near = known.iter().find(|word| is_near(word, key));
            let hint = near.map(|word| format!(": did you mean `{word}`?")).unwrap_or_default();
            notes.at(span.clone(), format!("no key `{key}` {place}{hint}; possible: {}", known.join(", ")));
        }
        keys
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value<'i>> {
        self.entries.iter().find(|(name, ..)| *name == key).map(|(.., value)| *value)
    }

    pub(super) fn entries(&self) -> &[(&'a str, Range<usize>, &'a Value<'i>)] {
        &self.entries
    }

    pub(super) fn text(&self, key: &str, notes: &mut Notes<'_>) -> Option<(&'a str, Range<usize>)> {
        let value = self.get(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            wrong(key, "a text in quotes", value, notes);
        }
        text.map(|text| (text, value.span()))
    }

    /// A text for people, without spaces around it; an empty one is none.
    pub(super) fn words(&self, key: &str, notes: &mut Notes<'_>) -> Option<String> {
        self.text(key, notes).map(|(text, _)| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    pub(super) fn flag(&self, key: &str, notes: &mut Notes<'_>) -> Option<bool> {
        let value = self.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            wrong(key, "true or false", value, notes);
        }
        flag
    }

    /// A list of texts; one text stands for a list of it.
    pub(super) fn texts(&self, key: &str, notes: &mut Notes<'_>) -> Option<Vec<(&'a str, Range<usize>)>> {
        let value = self.get(key)?;
        if let Some(text) = value.get_ref().as_str() {
            return Some(vec![(text, value.span())]);
        }
        let Some(items) = value.get_ref().as_array() else {
            wrong(key, "a list of texts", value, notes);
            return None;
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref().as_str() {
                Some(text) => texts.push((text, item.span())),
                None => wrong(key, "a list of texts", item, notes),
            }
        }
        Some(texts)
    }
}

/// Notes that a value is of another kind than its key wants.
pub(super) fn wrong(key: &str, wanted: &str, value: &Value<'_>, notes: &mut Notes<'_>) {
    notes.at(value.span(), format!("`{key}` must be {wanted}, not {}", kind(value.get_ref())));
}

/// What a value is, for messages.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Whether `key` is `word` but for case, dashes, or one letter more, fewer or other.
fn is_near(word: &str, key: &str) -> bool {
    let key = key.to_lowercase().replace('-', "_");
    let (a, b) = (word.as_bytes(), key.as_bytes());
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let tail = |a: &[u8], b: &[u8]| a == b;
    match a.len().abs_diff(b.len()) {
        0 => same == a.len() || tail(&a[same + 1..], &b[same + 1..]),
        1 if a.len() > b.len() => tail(&a[same + 1..], &b[same..]),
        1 => tail(&a[same..], &b[same + 1..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_near;

    #[test]
    fn near_is_one_letter() {
        assert!(is_near("required", "requird") && is_near("required", "Required") && is_near("range", "rangee"));
        assert!(is_near("null_values", "null-values") && is_near("enum", "enom"));
        assert!(!is_near("range", "doc") && !is_near("min", "maxi"));
    }
}
