//! PostgreSQL: one database for several daemons.
//!
//! Each transaction begins by taking the catalog's advisory lock and holds it to its end. That makes transactions run
//! one after another, as SQLite's do; and it settles what a lost connection leaves open: a COMMIT whose answer never came
//! was sent by a session that holds the lock, so whoever gets the lock next sees the outcome, which is final.
//!
//! Nothing waits for ever: connecting, statements, the lock and idle transactions are bounded. A session that commits
//! waits for the write-ahead log (`synchronous_commit` is at least `on`). A connection that broke while it lay idle is
//! replaced once, before anything was changed. The schema is that of `search_path`, so that
//! `?options=-csearch_path%3Dlake` gives a lake its own.
//!
//! Connections are not encrypted: a local socket or the loopback interface is asked for, or a tunnel.

use std::collections::HashMap;
use std::error::Error as _;
use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use postgres::config::Host;
use postgres::error::SqlState;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, NoTls, Statement};

use super::database::PostgresUrl;
use super::migrations::{self, Dialect};
use super::pool::Pool;
use super::session::{Engine, Row, Session, Value, Work};
use crate::error::{Error, Kind, Result};

/// Connections at most.
const CONNECTIONS: usize = 8;

const PATIENCE: Duration = Duration::from_secs(10);

/// What each connection begins with.
const BEGINNING: &str = "
    SET statement_timeout = '30s'; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '10s';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local');";

/// Takes the catalog's lock until the transaction ends; the table's number makes it one for each schema.
pub(super) const BEGIN: &str = "
    BEGIN ISOLATION LEVEL READ COMMITTED;
    SELECT pg_advisory_xact_lock((7809644627::bigint << 20) # 'settled'::regclass::oid::bigint);";

/// The same before there are tables.
const BEGIN_MIGRATION: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(7809644627);
    CREATE TABLE IF NOT EXISTS schema_version (one BIGINT PRIMARY KEY CHECK (one = 1), version BIGINT NOT NULL);
    INSERT INTO schema_version VALUES (1, 0) ON CONFLICT DO NOTHING;";

/// A PostgreSQL database.
#[derive(Debug)]
pub struct Postgres {
    pool: Pool<Connection>,
}

fn failed(error: postgres::Error) -> Error {
    let kind = match error.code() {
        Some(state) if [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED].contains(state) => Kind::Corrupt,
        // Text that it cannot hold, as a NUL character.
        Some(state) if state.code().starts_with("22") => Kind::Invalid,
        // Who we are, which database, what we may.
        Some(state) if ["28", "3D", "3F"].iter().any(|class| state.code().starts_with(class)) => Kind::Invalid,
        Some(state) if *state == SqlState::INSUFFICIENT_PRIVILEGE => Kind::Invalid,
        Some(state) if ["42", "23", "25"].iter().any(|class| state.code().starts_with(class)) => Kind::Internal,
        _ => Kind::Unavailable,
    };
    let said = error.as_db_error().map(|said| said.message().to_string());
    let said = said.or_else(|| error.source().map(ToString::to_string));
    let failed = Error::new(kind, "the catalog's database failed");
    match said {
        Some(said) => failed.with("PostgreSQL says", said),
        None => failed.because(error),
    }
}

impl Postgres {
    /// Connects and brings the schema up to date.
    ///
    /// # Errors
    /// `Invalid` for a URL that says nothing, a host that would be spoken to in the clear, a login that is refused, or
    /// a database that a newer version wrote; `Unavailable`.
    pub fn open(url: &PostgresUrl) -> Result<Self> {
        let config = configuration(url)?;
        let pool = Pool::new(CONNECTIONS, move || Connection::open(&config));
        let (mut connection, _) = pool.take()?;
        let migrated = connection.migrate();
        pool.put(migrated.is_ok().then_some(connection));
        migrated.map_err(|error| error.with("database", url))?;
        Ok(Self { pool })
    }

    /// Runs `work`; once more on a fresh connection if the one that lay idle proves dead in `begin`.
    fn with(&self, begin: &str, work: &mut dyn FnMut(&mut Connection) -> Result<()>) -> Result<()> {
        let (mut connection, used) = self.pool.take()?;
        if let Err(error) = connection.client.batch_execute(begin) {
            self.pool.put(None);
            self.pool.drain();
            if !used || error.as_db_error().is_some_and(|said| !said.code().code().starts_with("57P")) {
                return Err(failed(error));
            }
            (connection, _) = self.pool.take()?;
            if let Err(error) = connection.client.batch_execute(begin) {
                self.pool.put(None);
                return Err(failed(error));
            }
        }
        let result = work(&mut connection);
        self.pool.put((!connection.broken && !connection.client.is_closed()).then_some(connection));
        result
    }
}

impl Engine for Postgres {
    fn is_embedded(&self) -> bool {
        false
    }

    fn read(&self, work: Work<'_>) -> Result<()> {
        self.with("", &mut |connection| work(connection))
    }

    fn snapshot(&self, work: Work<'_>) -> Result<()> {
        self.with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", &mut |connection| {
            let done = work(connection);
            connection.end(done)
        })
    }

    fn transaction(&self, work: Work<'_>) -> Result<()> {
        self.with(BEGIN, &mut |connection| {
            let done = work(connection);
            connection.end(done)
        })
    }
}

impl Drop for Postgres {
    /// A client owns a runtime, which must not be dropped on a thread of another.
    fn drop(&mut self) {
        let connections = self.pool.drain();
        let _ = std::thread::Builder::new().spawn(move || drop(connections));
    }
}

fn configuration(url: &PostgresUrl) -> Result<Config> {
    let unreadable = |error: postgres::Error| {
        let why = error.source().map(ToString::to_string).unwrap_or_default();
        Error::new(Kind::Invalid, format!("the database's URL cannot be read: {why}")).with("database", url)
    };
    let mut config: Config = url.secret().parse().map_err(unreadable)?;
    for host in config.get_hosts() {
        let Host::Tcp(host) = host else { continue };
        if host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
            let message = "the database would be spoken to in the clear: use its socket, or a tunnel to it on loopback";
            return Err(Error::new(Kind::Invalid, message).with("host", host));
        }
    }
    config.application_name("laked").connect_timeout(PATIENCE).keepalives_idle(PATIENCE).tcp_user_timeout(PATIENCE);
    Ok(config)
}

struct Connection {
    client: Client,
    prepared: HashMap<String, Statement>,
    /// A statement of this transaction failed: PostgreSQL would answer COMMIT by rolling back.
    failed: bool,
    /// Nobody knows what state it is in: not to be used again.
    broken: bool,
}

impl Connection {
    fn open(config: &Config) -> Result<Self> {
        let mut client = config.connect(NoTls).map_err(failed)?;
        client.batch_execute(BEGINNING).map_err(failed)?;
        Ok(Self { client, prepared: HashMap::new(), failed: false, broken: false })
    }

    fn migrate(&mut self) -> Result<()> {
        self.client.batch_execute(BEGIN_MIGRATION).map_err(failed)?;
        let found = self.first("SELECT version FROM schema_version", &[])?.map_or(Ok(0), |mut row| row.integer(0))?;
        for (reached, sql) in migrations::after(found, Dialect::Postgres)? {
            self.client.batch_execute(sql).map_err(failed)?;
            self.execute("UPDATE schema_version SET version = ?1", &[reached.into()])?;
        }
        self.end(Ok(()))
    }

    /// Commits what was done, or rolls it back.
    fn end(&mut self, done: Result<()>) -> Result<()> {
        let spoilt = std::mem::take(&mut self.failed);
        if done.is_ok() && !spoilt {
            return self.client.batch_execute("COMMIT").map_err(|error| {
                self.broken = true;
                failed(error)
            });
        }
        self.broken = self.client.batch_execute("ROLLBACK").is_err();
        done.and_then(|()| Err(Error::new(Kind::Internal, "a transaction went on after a statement of it had failed")))
    }

    fn prepared(&mut self, sql: &str) -> Result<Statement, postgres::Error> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&sql.replace('?', "$"))?;
        self.prepared.insert(sql.to_string(), statement.clone());
        Ok(statement)
    }

    fn ran<T>(&mut self, result: Result<T, postgres::Error>) -> Result<T> {
        self.failed |= result.is_err();
        result.map_err(failed)
    }
}

fn references<'a>(parameters: &'a [Value<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    parameters.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl Session for Connection {
    fn execute(&mut self, sql: &str, parameters: &[Value<'_>]) -> Result<u64> {
        let done = self.prepared(sql).and_then(|statement| self.client.execute(&statement, &references(parameters)));
        self.ran(done)
    }

    fn query(&mut self, sql: &str, parameters: &[Value<'_>]) -> Result<Vec<Row>> {
        let found = self.prepared(sql).and_then(|statement| self.client.query(&statement, &references(parameters)));
        self.ran(found)?.iter().map(row_of).collect()
    }
}

fn row_of(row: &postgres::Row) -> Result<Row> {
    let value = |(column, about): (usize, &postgres::Column)| {
        let value = match *about.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(column).map(|number| number.map(Value::Integer)),
            Type::INT4 => row.try_get::<_, Option<i32>>(column).map(|number| number.map(|n| Value::Integer(n.into()))),
            Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(column).map(|bytes| bytes.map(|b| Value::Bytes(b.into()))),
            _ => row.try_get::<_, Option<String>>(column).map(|text| text.map(|t| Value::Text(t.into()))),
        };
        value.map(|value| value.unwrap_or(Value::Null)).map_err(failed)
    };
    Ok(Row(row.columns().iter().enumerate().map(value).collect::<Result<_>>()?))
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(number) if *ty == Type::INT4 => i32::try_from(*number)?.to_sql(ty, out),
            Value::Integer(number) if *ty == Type::INT8 => number.to_sql(ty, out),
            Value::Text(text) if *ty != Type::BYTEA && *ty != Type::INT8 => text.as_ref().to_sql(ty, out),
            Value::Bytes(bytes) if *ty == Type::BYTEA => bytes.as_ref().to_sql(ty, out),
            other => Err(format!("a parameter of type {ty} cannot be {other:?}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
