//! Names, a page at a time: after a name, so that what comes and goes meanwhile neither hides nor doubles another.

use super::State;
use super::pointers::Sort;
use crate::error::Result;

impl State {
    /// A namespace's tables or views after `after`, in order, at most `most`.
    ///
    /// # Errors
    /// Database errors.
    pub fn names_after(&self, sort: Sort, namespace: &str, after: &str, most: i64) -> Result<Vec<String>> {
        let sql = "SELECT name FROM tables WHERE namespace = ?1 AND sort = ?2 AND name > ?3 ORDER BY name LIMIT ?4";
        let parameters = [namespace.into(), sort.text().into(), after.into(), most.into()];
        self.read(|session| session.query(sql, &parameters)?.iter_mut().map(|row| row.text(0)).collect())
    }

    /// The namespaces right below `parent`, or those of one level, after `after`, in order, at most `most`.
    ///
    /// # Errors
    /// Database errors.
    pub fn children_after(&self, parent: Option<&str>, after: &str, most: i64) -> Result<Vec<String>> {
        // What is below sorts between the separator and what follows it.
        let (from, to) = match parent {
            Some(parent) => (format!("{parent}\u{1f}"), format!("{parent}\u{20}")),
            None => (String::new(), "\u{10ffff}".to_string()),
        };
        let from = if after > from.as_str() { after } else { &from };
        let depth = parent.map_or(0, |parent| i64::try_from(parent.matches('\u{1f}').count()).unwrap_or(i64::MAX) + 1);
        let sql = "SELECT name FROM namespaces WHERE name > ?1 AND name < ?2
                   AND CAST(length(name) - length(replace(name, ?3, '')) AS BIGINT) = ?4 ORDER BY name LIMIT ?5";
        let parameters = [from.into(), (&to).into(), "\u{1f}".into(), depth.into(), most.into()];
        self.read(|session| session.query(sql, &parameters)?.iter_mut().map(|row| row.text(0)).collect())
    }
}
