//! One connection at work: statements in, rows out, the same SQL text on both databases.
//!
//! Two things differ between them, and a statement leaves their places open:
//! - `{given}`, a table of rows that the caller brings: `UNNEST` of arrays on Postgres, `json_each` on
//!   SQLite. One statement for a thousand rows costs little more than one for a single row.
//! - `{lock}`, which holds the rows read until the commit: `FOR UPDATE OF stored` on Postgres, nothing on
//!   SQLite, where a writing transaction is alone.
//!
//! On failure: a session that ends without [`Session::commit`], or in the middle of a statement, closes
//! its connection, which rolls back on either database, even where the server no longer answers.

mod copy;

pub(super) use copy::{Line, Lines, NULL, Statement};

use super::contract::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Decode, Row as _, Type};
use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

/// No statement may take longer, unless it is known to have much to do ([`Session::take_time`]). A server that does not
/// answer is found out by it.
const STATEMENT: Duration = Duration::from_secs(5);
/// The first statement of a transaction has nothing to do, and less time.
const BEGIN: Duration = Duration::from_secs(2);

/// A connection, and what it is in the middle of.
pub(super) struct Session {
    connection: Connection,
    /// A statement was sent and its answer not read to the end.
    busy: bool,
    /// A transaction is open.
    writing: bool,
    /// How long a statement may take.
    patience: Duration,
}

enum Connection {
    Sqlite(PoolConnection<sqlx::Sqlite>),
    Postgres(PoolConnection<sqlx::Postgres>),
}

/// A row of an answer.
pub(super) enum Row {
    Sqlite(sqlx::sqlite::SqliteRow),
    Postgres(sqlx::postgres::PgRow),
}

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database does not answer; later it may.
    Passing(String),
    /// Two transactions stood in each other's way; doing it all again helps.
    Conflict(String),
    /// The database refuses this content.
    Refused(String),
}

/// What a statement is given.
#[derive(Debug, Clone)]
pub(super) enum Args {
    /// Nothing.
    None,
    /// The values of `$1`, `$2`, ….
    Values(Vec<Value>),
    /// The table `{given}`.
    Rows(Rows),
}

/// The value of a parameter.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Octets(Vec<u8>),
}

/// A table that the caller brings, column by column.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    columns: Vec<(&'static str, Column)>,
}

#[derive(Debug, Clone)]
enum Column {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Octets(Vec<Option<Vec<u8>>>),
}

impl Value {
    pub(super) fn text(value: &str) -> Self {
        Self::Text(Some(clean(value)))
    }
}

/// Neither database keeps a NUL in a text.
pub(super) fn clean(text: &str) -> String {
    if text.contains('\0') {
        text.replace('\0', "")
    } else {
        text.to_owned()
    }
}

impl Rows {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn ints<V: Into<Option<i64>>>(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.columns.push((name, Column::Int(values)));
        self
    }

    pub(super) fn texts<'a, V: Into<Option<&'a str>>>(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(|v| v.into().map(clean)).collect();
        self.columns.push((name, Column::Text(values)));
        self
    }

    pub(super) fn octets<'a, V: Into<Option<&'a [u8]>>>(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(|v| v.into().map(<[u8]>::to_vec)).collect();
        self.columns.push((name, Column::Octets(values)));
        self
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.columns.first().map_or(0, |(_, column)| match column {
            Column::Int(v) => v.len(),
            Column::Text(v) => v.len(),
            Column::Octets(v) => v.len(),
        })
    }

    /// The table's text in Postgres' SQL.
    fn unnest(&self) -> String {
        let mut arrays = String::new();
        let mut names = String::new();
        for (index, (name, column)) in self.columns.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let kind = match column {
                Column::Int(_) => "BIGINT",
                Column::Text(_) => "TEXT",
                Column::Octets(_) => "BYTEA",
            };
            let _ = write!(arrays, "{comma}${}::{kind}[]", index + 1);
            let _ = write!(names, "{comma}{name}");
        }
        format!("UNNEST({arrays}) AS given({names})")
    }

    /// The table's text in SQLite's SQL.
    fn json_each(&self) -> String {
        let mut fields = String::new();
        for (index, (name, column)) in self.columns.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let _ = match column {
                Column::Octets(_) => write!(fields, "{comma}unhex(value ->> {index}) AS {name}"),
                _ => write!(fields, "{comma}value ->> {index} AS {name}"),
            };
        }
        format!("(SELECT {fields} FROM json_each($1)) AS given")
    }

    /// The table's rows as SQLite takes them: a JSON array of arrays, octets in hexadecimal.
    fn json(&self) -> String {
        let mut json = String::with_capacity(64 * self.columns.len() * self.len());
        json.push('[');
        for row in 0..self.len() {
            json.push_str(if row == 0 { "[" } else { ",[" });
            for (index, (_, column)) in self.columns.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                column.json(row, &mut json);
            }
            json.push(']');
        }
        json.push(']');
        json
    }
}

impl Column {
    fn json(&self, row: usize, json: &mut String) {
        match self {
            Self::Int(values) => match values[row] {
                Some(value) => drop(write!(json, "{value}")),
                None => json.push_str("null"),
            },
            Self::Text(values) => match &values[row] {
                Some(value) => quote(value, json),
                None => json.push_str("null"),
            },
            Self::Octets(values) => match &values[row] {
                Some(value) => {
                    json.push('"');
                    for octet in value {
                        json.push(HEX[usize::from(octet >> 4)]);
                        json.push(HEX[usize::from(octet & 15)]);
                    }
                    json.push('"');
                }
                None => json.push_str("null"),
            },
        }
    }
}

const HEX: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
];

/// A JSON string (RFC 8259 §7).
fn quote(text: &str, json: &mut String) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if c < ' ' => drop(write!(json, "\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
}

type SqliteQuery = sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;
type PostgresQuery = sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn bind_sqlite(mut query: SqliteQuery, args: Args) -> SqliteQuery {
    match args {
        Args::None => query,
        Args::Rows(rows) => query.bind(rows.json()),
        Args::Values(values) => {
            for value in values {
                query = match value {
                    Value::Int(value) => query.bind(value),
                    Value::Text(value) => query.bind(value),
                    Value::Octets(value) => query.bind(value),
                };
            }
            query
        }
    }
}

fn bind_postgres(mut query: PostgresQuery, args: Args) -> PostgresQuery {
    match args {
        Args::None => {}
        Args::Rows(rows) => {
            for (_, column) in rows.columns {
                query = match column {
                    Column::Int(values) => query.bind(values),
                    Column::Text(values) => query.bind(values),
                    Column::Octets(values) => query.bind(values),
                };
            }
        }
        Args::Values(values) => {
            for value in values {
                query = match value {
                    Value::Int(value) => query.bind(value),
                    Value::Text(value) => query.bind(value),
                    Value::Octets(value) => query.bind(value),
                };
            }
        }
    }
    query
}

/// An answer in time, or a fault.
async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(Fault::from),
        Err(_) => Err(Fault::Passing(format!("no answer within {} s", limit.as_secs()))),
    }
}

impl Row {
    /// The value of a column, counted from 0.
    pub(super) fn get<T>(&self, column: usize) -> Result<T, Fault>
    where
        T: for<'r> Decode<'r, sqlx::Sqlite> + Type<sqlx::Sqlite>,
        T: for<'r> Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(Fault::from)
    }
}

impl Session {
    pub(super) fn sqlite(connection: PoolConnection<sqlx::Sqlite>) -> Self {
        Self {
            connection: Connection::Sqlite(connection),
            busy: false,
            writing: false,
            patience: STATEMENT,
        }
    }

    pub(super) fn postgres(connection: PoolConnection<sqlx::Postgres>) -> Self {
        Self {
            connection: Connection::Postgres(connection),
            busy: false,
            writing: false,
            patience: STATEMENT,
        }
    }

    /// Whether the database is SQLite.
    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self.connection, Connection::Sqlite(_))
    }

    /// Opens a transaction that will write.
    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        self.writing = true;
        self.control("BEGIN", BEGIN).await
    }

    /// Makes all that was written since [`Session::begin`] last.
    pub(super) async fn commit(&mut self) -> Result<(), Fault> {
        self.control("COMMIT", STATEMENT).await?;
        self.writing = false;
        Ok(())
    }

    /// Gives each further statement of this transaction so long, in full seconds.
    pub(super) async fn take_time(&mut self, patience: Duration) -> Result<(), Fault> {
        if let Connection::Postgres(_) = self.connection {
            let limit = Args::Values(vec![Value::text(&patience.as_millis().to_string())]);
            self.run("SELECT set_config('statement_timeout', $1, true)", limit)
                .await?;
            self.patience = patience;
        }
        Ok(())
    }

    async fn control(&mut self, text: &'static str, limit: Duration) -> Result<(), Fault> {
        self.busy = true;
        match &mut self.connection {
            // At once and not at the first write: a reading transaction that turns into a writing one
            // fails where another wrote in between, and waiting does not help it.
            Connection::Sqlite(c) => {
                let text = if text == "BEGIN" { "BEGIN IMMEDIATE" } else { text };
                sqlx::raw_sql(text).execute(&mut **c).await.map_err(Fault::from)?;
            }
            Connection::Postgres(c) => {
                within(limit, sqlx::raw_sql(text).execute(&mut **c)).await?;
            }
        }
        self.busy = false;
        Ok(())
    }

    /// Runs a statement for its rows.
    pub(super) async fn fetch(&mut self, sql: &'static str, args: Args) -> Result<Vec<Row>, Fault> {
        let text = self.dialect(sql, &args);
        self.busy = true;
        let rows = match &mut self.connection {
            Connection::Sqlite(c) => {
                let rows = bind_sqlite(sqlx::query(AssertSqlSafe(text)), args)
                    .fetch_all(&mut **c)
                    .await
                    .map_err(Fault::from)?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Connection::Postgres(c) => {
                let query = bind_postgres(sqlx::query(AssertSqlSafe(text)), args);
                let rows = within(self.patience, query.fetch_all(&mut **c)).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
        };
        self.busy = false;
        Ok(rows)
    }

    /// Runs a statement for its effect; returns how many rows it touched.
    pub(super) async fn run(&mut self, sql: &'static str, args: Args) -> Result<u64, Fault> {
        let text = self.dialect(sql, &args);
        self.busy = true;
        let touched = match &mut self.connection {
            Connection::Sqlite(c) => bind_sqlite(sqlx::query(AssertSqlSafe(text)), args)
                .execute(&mut **c)
                .await
                .map_err(Fault::from)?
                .rows_affected(),
            Connection::Postgres(c) => {
                let query = bind_postgres(sqlx::query(AssertSqlSafe(text)), args);
                within(self.patience, query.execute(&mut **c))
                    .await?
                    .rows_affected()
            }
        };
        self.busy = false;
        Ok(touched)
    }

    /// Runs a statement that no parameter can be part of: one about tables, whose names are our own.
    pub(super) async fn run_text(&mut self, sql: &str) -> Result<(), Fault> {
        self.busy = true;
        let text = AssertSqlSafe(sql.to_owned());
        match &mut self.connection {
            Connection::Sqlite(c) => {
                sqlx::raw_sql(text).execute(&mut **c).await.map_err(Fault::from)?;
            }
            Connection::Postgres(c) => {
                within(STATEMENT, sqlx::raw_sql(text).execute(&mut **c)).await?;
            }
        }
        self.busy = false;
        Ok(())
    }

    /// Tells the listeners that the change feed grew, when the transaction commits. SQLite has no such thing.
    pub(super) async fn notify(&mut self, channel: &'static str) -> Result<(), Fault> {
        if let Connection::Postgres(_) = self.connection {
            let channel = Args::Values(vec![Value::text(channel)]);
            self.run("SELECT pg_notify($1, '')", channel).await?;
        }
        Ok(())
    }

    /// The statement in the database's own words.
    fn dialect(&self, sql: &'static str, args: &Args) -> String {
        let lite = matches!(self.connection, Connection::Sqlite(_));
        let lock = if lite { "" } else { "FOR UPDATE OF stored" };
        let text = sql.replace("{lock}", lock);
        match args {
            Args::Rows(rows) if lite => text.replace("{given}", &rows.json_each()),
            Args::Rows(rows) => text.replace("{given}", &rows.unnest()),
            Args::None | Args::Values(_) => text,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.busy || self.writing {
            match &mut self.connection {
                Connection::Sqlite(c) => c.close_on_drop(),
                Connection::Postgres(c) => c.close_on_drop(),
            }
        }
    }
}

impl From<sqlx::Error> for Fault {
    /// Only what the database says about the content itself is a refusal: everything else, from a lost
    /// connection to a missing table, may be put right while the data waits.
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        let sqlx::Error::Database(database) = &error else {
            return match error {
                sqlx::Error::Encode(_) => Self::Refused(text),
                _ => Self::Passing(text),
            };
        };
        let code = database.code().unwrap_or_default();
        if database.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
            sqlite_fault(code.parse().unwrap_or(0), text)
        } else {
            postgres_fault(&code, text)
        }
    }
}

/// SQLite's result codes; the low octet is the primary one (https://sqlite.org/rescode.html).
fn sqlite_fault(code: u32, text: String) -> Fault {
    match code & 0xff {
        5 | 6 => Fault::Conflict(text),
        18..=20 => Fault::Refused(text),
        _ => Fault::Passing(text),
    }
}

/// Postgres' SQLSTATEs (appendix A of its manual).
fn postgres_fault(code: &str, text: String) -> Fault {
    match code {
        "40001" | "40P01" => Fault::Conflict(text),
        // cardinality, data, integrity, program limits (an index entry too long)
        _ if ["21", "22", "23", "54"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            Fault::Refused(text)
        }
        _ => Fault::Passing(text),
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Passing(text) | Fault::Conflict(text) => Self::Unavailable(text),
            Fault::Refused(text) => Self::Refused(text),
        }
    }
}
