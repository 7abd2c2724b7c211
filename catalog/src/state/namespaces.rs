//! Namespaces and their properties.

use std::collections::BTreeMap;

use super::State;
use crate::error::{Error, Kind, Result};

impl State {
    /// Adds a namespace; `false` if it is there.
    pub fn add_namespace(&self, name: &str, properties: &BTreeMap<String, String>) -> Result<bool> {
        let text = encode(properties)?;
        let sql = "INSERT INTO namespaces (name, properties) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        self.transact(|session| Ok(session.execute(sql, &[name.into(), (&text).into()])? == 1))
    }

    /// A namespace's properties.
    pub fn namespace(&self, name: &str) -> Result<Option<BTreeMap<String, String>>> {
        let sql = "SELECT properties FROM namespaces WHERE name = ?1";
        let text = self.read(|session| session.first(sql, &[name.into()])?.map(|mut row| row.text(0)).transpose())?;
        text.map(|text| decode(&text)).transpose()
    }

    /// Every namespace, in order.
    pub fn namespaces(&self) -> Result<Vec<String>> {
        let sql = "SELECT name FROM namespaces ORDER BY name";
        self.read(|session| session.query(sql, &[])?.iter_mut().map(|row| row.text(0)).collect())
    }

    /// Changes a namespace's properties; `false` if they are not `before`, or there is no such namespace.
    pub fn set_namespace(
        &self,
        name: &str,
        before: &BTreeMap<String, String>,
        after: &BTreeMap<String, String>,
    ) -> Result<bool> {
        let text = encode(after)?;
        let held = "SELECT properties FROM namespaces WHERE name = ?1";
        let sql = "UPDATE namespaces SET properties = ?2 WHERE name = ?1";
        self.transact(|session| {
            let Some(mut row) = session.first(held, &[name.into()])? else { return Ok(false) };
            Ok(decode(&row.text(0)?)? == *before && session.execute(sql, &[name.into(), (&text).into()])? == 1)
        })
    }

    /// Removes an empty namespace; `false` if there is none.
    ///
    /// # Errors
    /// `Conflict` if it holds tables, views or namespaces.
    pub fn remove_namespace(&self, name: &str) -> Result<bool> {
        // What is below sorts between the separator and what follows it.
        let (below, beyond) = (format!("{name}\u{1f}"), format!("{name}\u{20}"));
        let sql = "SELECT (SELECT count(*) FROM tables WHERE namespace = ?1)
                        + (SELECT count(*) FROM namespaces WHERE name >= ?2 AND name < ?3)";
        self.transact(|session| {
            let row = session.first(sql, &[name.into(), (&below).into(), (&beyond).into()])?;
            if row.map_or(Ok(0), |mut row| row.integer(0))? > 0 {
                return Err(Error::new(Kind::Conflict, "the namespace is not empty: drop what it holds first"));
            }
            Ok(session.execute("DELETE FROM namespaces WHERE name = ?1", &[name.into()])? == 1)
        })
    }
}

fn encode(properties: &BTreeMap<String, String>) -> Result<String> {
    serde_json::to_string(properties).map_err(|error| Error::new(Kind::Internal, "encoding properties").because(error))
}

fn decode(text: &str) -> Result<BTreeMap<String, String>> {
    serde_json::from_str(text).map_err(|error| Error::new(Kind::Corrupt, "a namespace's properties").because(error))
}
