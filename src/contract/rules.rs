//! How the rules of two versions of a contract differ, to be shown as a diff. Types and descriptions are the columns'
//! ([`super::changes`]) and not told here.

use serde::Serialize;

use super::{Atomic, Contract, Field, Length, Unknown, Values};

/// A rule that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The field, or `table`.
    pub of: String,
    /// As it was; none if there was none.
    pub before: Option<String>,
    /// As it is; none if there is none any more.
    pub after: Option<String>,
}

/// The rules that differ: the table's, those of the fields in order, those of fields that are gone.
pub fn rules(old: &Contract, new: &Contract) -> Vec<Rule> {
    let mut found = Vec::new();
    let mut note = |of: &str, before: Vec<String>, after: Vec<String>| {
        let gone = before.iter().filter(|rule| !after.contains(rule)).cloned().collect::<Vec<_>>();
        let come = after.iter().filter(|rule| !before.contains(rule)).cloned().collect::<Vec<_>>();
        let text = |rules: Vec<String>| Some(rules.join(", ")).filter(|text| !text.is_empty());
        if !gone.is_empty() || !come.is_empty() {
            found.push(Rule { of: of.to_owned(), before: text(gone), after: text(come) });
        }
    };
    note("table", of_table(old), of_table(new));
    for field in new.fields() {
        let was = |name: &&Field| name.name == field.name || field.was.contains(&name.name);
        let before = old.fields().iter().find(was).map(of_field).unwrap_or_default();
        note(&field.name, before, of_field(field));
    }
    let goes_on = |field: &Field| new.fields().iter().any(|n| n.name == field.name || n.was.contains(&field.name));
    for field in old.fields().iter().filter(|field| !goes_on(field)) {
        note(&field.name, of_field(field), Vec::new());
    }
    found
}

fn of_table(contract: &Contract) -> Vec<String> {
    let strict = if contract.strict { "strict" } else { "not strict" };
    let unknown = match contract.unknown {
        Unknown::Reject => "unknown fields rejected",
        Unknown::Ignore => "unknown fields ignored",
    };
    let atomic = match contract.atomic {
        Atomic::File => "files at once",
        Atomic::Parts => "files in parts",
    };
    let limit = format!("reject limit {}%", contract.reject_limit * 100.0);
    vec![strict.to_owned(), unknown.to_owned(), atomic.to_owned(), limit]
}

fn of_field(field: &Field) -> Vec<String> {
    let values = |values: &Values| match values {
        Values::Text(texts) => texts.join(" | "),
        Values::Whole(numbers) => numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "),
    };
    let nulls = field.null_values.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(" ");
    let zone = |zone: &jiff::tz::TimeZone| match zone.iana_name() {
        Some(name) => name.to_owned(),
        None => zone.to_fixed_offset().map(|offset| offset.to_string()).unwrap_or_default(),
    };
    let rules = [
        field.required.then(|| "required".to_owned()),
        field.range.as_ref().map(|range| format!("range {}", range.text)),
        field.values.as_ref().map(|listed| format!("one of {}", values(listed))),
        field.pattern.as_ref().map(|pattern| format!("pattern {}", pattern.text)),
        field.length.map(length),
        field.allow_nan.then(|| "NaN allowed".to_owned()),
        field.time_zone.as_ref().map(|of| format!("time zone {}", zone(of))),
        (nulls != "\"\"").then(|| format!("null is {nulls}")),
    ];
    rules.into_iter().flatten().collect()
}

fn length(Length { min, max }: Length) -> String {
    match (min, max) {
        (min, max) if min == max => format!("length {min}"),
        (0, max) => format!("length up to {max}"),
        (min, usize::MAX) => format!("length from {min}"),
        (min, max) => format!("length {min} to {max}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_told_where_they_differ() {
        let of = |text: &str| Contract::parse(text, "a/b.toml").unwrap();
        let old = of(
            "[fields]\nn = { type = \"int\", range = [0, 9] }\nc = { type = \"string\", enum = [\"x\"] }\nz = \"date\"",
        );
        let new =
            of("[table]\nunknown = \"ignore\"\n[fields]\nn = { type = \"long\", range = [0, 99], required = true }\n\
                      k = { type = \"string\", enum = [\"x\"], was = \"c\" }\nz = \"date\"");
        let rule = |of: &str, before: &str, after: &str| Rule {
            of: of.into(),
            before: Some(before.into()),
            after: Some(after.into()),
        };
        let wanted = [
            rule("table", "unknown fields rejected", "unknown fields ignored"),
            rule("n", "range 0 to 9", "required, range 0 to 99"),
        ];
        assert_eq!(rules(&old, &new), wanted);
        assert!(rules(&new, &new).is_empty());
    }
}
