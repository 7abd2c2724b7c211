//! Plans as text, like a diff, and as JSON.

use serde_json::json;

use super::planned::{Planned, State};
use crate::cli::{Output, output};
use crate::error::Result;

/// What was done of what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is a plan.
    Nothing,
    /// Every change.
    All,
}

/// Prints plans, and the tables that have no contract.
///
/// # Errors
/// Output errors.
pub fn print(plans: &[Planned], strangers: &[String], done: Done, form: Output) -> Result<()> {
    let changes = plans.iter().filter(|plan| plan.is_change()).count();
    if form == Output::Json {
        return output::json(&json!({
            "tables": plans, "without-contract": strangers, "changes": changes > 0, "dry-run": done == Done::Nothing,
        }));
    }
    let mut text: String = plans.iter().map(table).collect();
    if !strangers.is_empty() {
        text += &format!("without a contract: {}\n", strangers.join(", "));
    }
    let refused = plans.iter().filter(|plan| plan.is_refused()).count();
    text += &match (done, changes, refused) {
        (Done::Nothing, changes, 0) => format!("{changes} to change; nothing was changed"),
        (Done::Nothing, changes, refused) => format!("{changes} to change, {refused} refused; nothing was changed"),
        (Done::All, changes, _) => format!("{changes} changed; no file was rewritten"),
    };
    output::line(text)
}

fn table(plan: &Planned) -> String {
    let (table, version) = (&plan.table, plan.after.version);
    let head = match (plan.state, &plan.before) {
        (State::Missing, _) => {
            format!("{table}: no such table yet; laked makes it when this contract is in its schemas folder")
        }
        (State::Same, _) => format!("{table}: version {version}, nothing to apply"),
        (_, Some(before)) if before.hash == plan.after.hash => format!("{table}: version {version}"),
        (_, Some(before)) => format!("{table}: version {} -> {version}", before.version),
        (_, None) => format!("{table}: no contract -> version {version}"),
    };
    let mut lines = vec![head];
    for field in &plan.fields {
        differ(&mut lines, "", field.before.as_ref(), field.after.as_ref());
    }
    for rule in &plan.rules {
        differ(&mut lines, &format!("{}: ", rule.of), rule.before.as_ref(), rule.after.as_ref());
    }
    for property in &plan.properties {
        differ(&mut lines, &format!("{} = ", property.key), property.before.as_ref(), Some(&property.after));
    }
    lines.extend(plan.kept.iter().map(|kept| format!("  = {kept}")));
    lines.extend(plan.layout.iter().map(|layout| format!("  = layout, never applied: {layout}")));
    lines.extend(plan.refused.iter().map(|reason| format!("  ! {reason}")));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn differ(lines: &mut Vec<String>, what: &str, before: Option<&String>, after: Option<&String>) {
    for (sign, text) in [('-', before), ('+', after)] {
        lines.extend(text.map(|text| format!("  {sign} {what}{text}")));
    }
}
