//! The schema, as numbered steps for both databases; append only.
//!
//! Step n brings the schema from version n to n + 1. The two texts of a step say the same: SQLite has STRICT tables,
//! PostgreSQL collation "C" (byte order, as SQLite's), `BIGINT` and `BYTEA`. The version is `user_version` on SQLite
//! and the one row of `schema_version` on PostgreSQL.

use crate::error::{Error, Kind, Result};

/// Which database's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

struct Step {
    sqlite: &'static str,
    postgres: &'static str,
}

const STEPS: &[Step] = &[
    Step {
        sqlite: "
            CREATE TABLE namespaces (
                name TEXT PRIMARY KEY NOT NULL,
                properties TEXT NOT NULL
            ) STRICT;
            CREATE TABLE tables (
                namespace TEXT NOT NULL REFERENCES namespaces (name),
                name TEXT NOT NULL,
                metadata_location TEXT NOT NULL,
                PRIMARY KEY (namespace, name)
            ) STRICT, WITHOUT ROWID;",
        postgres: "
            CREATE TABLE namespaces (
                name TEXT COLLATE \"C\" PRIMARY KEY,
                properties TEXT NOT NULL
            );
            CREATE TABLE tables (
                namespace TEXT COLLATE \"C\" NOT NULL REFERENCES namespaces (name),
                name TEXT COLLATE \"C\" NOT NULL,
                metadata_location TEXT NOT NULL,
                PRIMARY KEY (namespace, name)
            );",
    },
    Step {
        sqlite: "
            ALTER TABLE tables ADD COLUMN sort TEXT NOT NULL DEFAULT 'table';
            CREATE TABLE answers (
                key TEXT PRIMARY KEY NOT NULL,
                request BLOB NOT NULL,
                status INTEGER NOT NULL,
                body BLOB NOT NULL,
                kept_ms INTEGER NOT NULL
            ) STRICT;
            CREATE TABLE settled (one INTEGER PRIMARY KEY CHECK (one = 1), count INTEGER NOT NULL) STRICT;
            INSERT INTO settled VALUES (1, 0);",
        postgres: "
            ALTER TABLE tables ADD COLUMN sort TEXT COLLATE \"C\" NOT NULL DEFAULT 'table';
            CREATE TABLE answers (
                key TEXT COLLATE \"C\" PRIMARY KEY,
                request BYTEA NOT NULL,
                status BIGINT NOT NULL,
                body BYTEA NOT NULL,
                kept_ms BIGINT NOT NULL
            );
            CREATE TABLE settled (one BIGINT PRIMARY KEY CHECK (one = 1), count BIGINT NOT NULL);
            INSERT INTO settled VALUES (1, 0);",
    },
    Step {
        sqlite: "
            CREATE TABLE access_tokens (
                id TEXT PRIMARY KEY NOT NULL,
                label TEXT NOT NULL,
                role TEXT NOT NULL,
                namespaces TEXT NOT NULL,
                hash TEXT NOT NULL,
                made_ms INTEGER NOT NULL,
                expires_ms INTEGER,
                revoked_ms INTEGER
            ) STRICT;
            CREATE TABLE access_key (one INTEGER PRIMARY KEY CHECK (one = 1), secret TEXT NOT NULL) STRICT;",
        postgres: "
            CREATE TABLE access_tokens (
                id TEXT COLLATE \"C\" PRIMARY KEY,
                label TEXT NOT NULL,
                role TEXT NOT NULL,
                namespaces TEXT NOT NULL,
                hash TEXT NOT NULL,
                made_ms BIGINT NOT NULL,
                expires_ms BIGINT,
                revoked_ms BIGINT
            );
            CREATE TABLE access_key (one BIGINT PRIMARY KEY CHECK (one = 1), secret TEXT NOT NULL);",
    },
    Step {
        sqlite: "
            CREATE TABLE deletions (
                run TEXT NOT NULL,
                part INTEGER NOT NULL,
                table_uuid TEXT NOT NULL,
                namespace TEXT NOT NULL,
                name TEXT NOT NULL,
                due_ms INTEGER NOT NULL,
                again_ms INTEGER NOT NULL,
                files BLOB NOT NULL,
                PRIMARY KEY (run, part)
            ) STRICT;
            CREATE INDEX deletions_again ON deletions (again_ms);",
        postgres: "
            CREATE TABLE deletions (
                run TEXT COLLATE \"C\" NOT NULL,
                part BIGINT NOT NULL,
                table_uuid TEXT COLLATE \"C\" NOT NULL,
                namespace TEXT COLLATE \"C\" NOT NULL,
                name TEXT COLLATE \"C\" NOT NULL,
                due_ms BIGINT NOT NULL,
                again_ms BIGINT NOT NULL,
                files BYTEA NOT NULL,
                PRIMARY KEY (run, part)
            );
            CREATE INDEX deletions_again ON deletions (again_ms);",
    },
    Step {
        sqlite: "
            CREATE INDEX answers_by_age ON answers (kept_ms);
            CREATE TABLE dropped (
                id TEXT PRIMARY KEY NOT NULL,
                namespace TEXT NOT NULL,
                name TEXT NOT NULL,
                metadata_location TEXT NOT NULL,
                dropped_ms INTEGER NOT NULL,
                purge INTEGER NOT NULL,
                within TEXT
            ) STRICT;
            CREATE INDEX dropped_by_name ON dropped (namespace, name);",
        postgres: "
            CREATE INDEX answers_by_age ON answers (kept_ms);
            CREATE TABLE dropped (
                id TEXT COLLATE \"C\" PRIMARY KEY,
                namespace TEXT COLLATE \"C\" NOT NULL,
                name TEXT COLLATE \"C\" NOT NULL,
                metadata_location TEXT NOT NULL,
                dropped_ms BIGINT NOT NULL,
                purge BIGINT NOT NULL,
                within TEXT
            );
            CREATE INDEX dropped_by_name ON dropped (namespace, name);",
    },
    Step {
        sqlite: "
            CREATE TABLE unsynced (
                location TEXT PRIMARY KEY NOT NULL,
                body BLOB NOT NULL
            ) STRICT, WITHOUT ROWID;",
        postgres: "
            CREATE TABLE unsynced (
                location TEXT COLLATE \"C\" PRIMARY KEY,
                body BYTEA NOT NULL
            );",
    },
    Step {
        sqlite: "
            CREATE TABLE maintenance_runs (
                id TEXT PRIMARY KEY NOT NULL,
                owner TEXT NOT NULL,
                namespace TEXT NOT NULL,
                name TEXT NOT NULL,
                task TEXT NOT NULL,
                state TEXT NOT NULL,
                why TEXT NOT NULL,
                began_ms INTEGER NOT NULL,
                ended_ms INTEGER,
                deadline_ms INTEGER NOT NULL,
                sequence INTEGER NOT NULL,
                report BLOB NOT NULL
            ) STRICT;
            CREATE INDEX maintenance_runs_by_age ON maintenance_runs (began_ms, id);
            CREATE INDEX maintenance_runs_by_table ON maintenance_runs (namespace, name, began_ms);",
        postgres: "
            CREATE TABLE maintenance_runs (
                id TEXT COLLATE \"C\" PRIMARY KEY,
                owner TEXT COLLATE \"C\" NOT NULL,
                namespace TEXT COLLATE \"C\" NOT NULL,
                name TEXT COLLATE \"C\" NOT NULL,
                task TEXT COLLATE \"C\" NOT NULL,
                state TEXT COLLATE \"C\" NOT NULL,
                why TEXT NOT NULL,
                began_ms BIGINT NOT NULL,
                ended_ms BIGINT,
                deadline_ms BIGINT NOT NULL,
                sequence BIGINT NOT NULL,
                report BYTEA NOT NULL
            );
            CREATE INDEX maintenance_runs_by_age ON maintenance_runs (began_ms, id);
            CREATE INDEX maintenance_runs_by_table ON maintenance_runs (namespace, name, began_ms);",
    },
    Step {
        sqlite: "
            ALTER TABLE maintenance_runs ADD COLUMN table_uuid TEXT NOT NULL DEFAULT '';
            CREATE INDEX maintenance_runs_by_task ON maintenance_runs (namespace, name, task, began_ms, id);",
        postgres: "
            ALTER TABLE maintenance_runs ADD COLUMN table_uuid TEXT COLLATE \"C\" NOT NULL DEFAULT '';
            CREATE INDEX maintenance_runs_by_task ON maintenance_runs (namespace, name, task, began_ms, id);",
    },
];

/// The tables with their columns, those of the primary key first and counted: what a backup holds. A table that others
/// refer to comes before them.
pub const TABLES: &[(&str, usize, &[&str])] = &[
    ("namespaces", 1, &["name", "properties"]),
    ("tables", 2, &["namespace", "name", "metadata_location", "sort"]),
    ("answers", 1, &["key", "request", "status", "body", "kept_ms"]),
    ("settled", 1, &["one", "count"]),
    ("access_tokens", 1, &["id", "label", "role", "namespaces", "hash", "made_ms", "expires_ms", "revoked_ms"]),
    ("access_key", 1, &["one", "secret"]),
    ("deletions", 2, &["run", "part", "table_uuid", "namespace", "name", "due_ms", "again_ms", "files"]),
    ("dropped", 1, &["id", "namespace", "name", "metadata_location", "dropped_ms", "purge", "within"]),
    ("unsynced", 1, &["location", "body"]),
    (
        "maintenance_runs",
        1,
        &[
            "id",
            "owner",
            "namespace",
            "name",
            "task",
            "state",
            "why",
            "began_ms",
            "ended_ms",
            "deadline_ms",
            "sequence",
            "report",
            "table_uuid",
        ],
    ),
];

/// The steps from version `found` on, each with the version it reaches.
///
/// # Errors
/// `Invalid` if a newer version of laked wrote the database.
pub fn after(found: i64, dialect: Dialect) -> Result<impl Iterator<Item = (i64, &'static str)>> {
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    if done > STEPS.len() {
        return Err(Error::new(Kind::Invalid, "a newer version of laked wrote this catalog: run that version")
            .with("found", found)
            .with("known", STEPS.len()));
    }
    let words = move |step: &'static Step| match dialect {
        Dialect::Sqlite => step.sqlite,
        Dialect::Postgres => step.postgres,
    };
    Ok((1i64..).zip(STEPS).skip(done).map(move |(reached, step)| (reached, words(step))))
}
