//! Rows of documents, events and dead letters, in SQLite or PostgreSQL.

use crate::{classify::Classified, http};
use opentelemetry::{
    KeyValue,
    trace::{SpanBuilder, SpanKind},
};
use sqlx::{AnyConnection, AnyPool, Connection, Row, any::AnyPoolOptions};
use std::{fmt, sync::Arc, time::Duration};
use throughline::{BoxError, Message};

/// What several runs leave in one database is told apart by the name of the run.
const TABLES: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS documents (run TEXT, id TEXT, class TEXT NOT NULL, similarity REAL NOT NULL, \
     words BIGINT NOT NULL, PRIMARY KEY (run, id))",
    "CREATE TABLE IF NOT EXISTS audited (run TEXT, id TEXT, PRIMARY KEY (run, id))",
    "CREATE TABLE IF NOT EXISTS letters (run TEXT, id TEXT, reason TEXT NOT NULL, message TEXT NOT NULL, \
     replayed BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (run, id))",
];

/// A few connections. A clone is one reference count.
#[derive(Clone)]
pub(crate) struct Database {
    pool: AnyPool,
    system: &'static str,
    run: Arc<str>,
}

/// How many rows this run has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) stored: usize,
    pub(crate) audited: usize,
    /// Dead letters that were not replayed.
    pub(crate) letters: usize,
}

impl Database {
    /// Connects for this run, and makes the tables where they are missing.
    ///
    /// # Errors
    /// The URL is of no database that this build knows, or the database is not there.
    pub(crate) async fn open(url: &str, run: &str) -> Result<Self, BoxError> {
        sqlx::any::install_default_drivers();
        let system = if url.starts_with("postgres") { "postgresql" } else { "sqlite" };
        if system == "postgresql" && !cfg!(feature = "postgres") {
            let command = format!("cargo run --features postgres --example ai_pipeline -- --database {url}");
            return Err(
                format!("this build has no PostgreSQL client, to keep it fast; run `{command}`").into()
            );
        }
        // A pool tries again and again, and then says only that it took too long.
        let why = |error| format!("database {url}: {error}");
        AnyConnection::connect(url).await.map_err(why)?.close().await?;
        let pool = AnyPoolOptions::new().max_connections(4).acquire_timeout(Duration::from_secs(10));
        let pool = pool.after_connect(move |connection, _| {
            Box::pin(async move {
                if system == "sqlite" {
                    // Several processes write: each waits for the other, and readers wait for nobody.
                    sqlx::query("PRAGMA busy_timeout = 5000").execute(&mut *connection).await?;
                    sqlx::query("PRAGMA journal_mode = WAL").execute(&mut *connection).await?;
                    sqlx::query("PRAGMA synchronous = NORMAL").execute(&mut *connection).await?;
                }
                Ok(())
            })
        });
        let pool = pool.connect(url).await.map_err(why)?;
        for table in TABLES {
            sqlx::query(table).execute(&pool).await?;
        }
        Ok(Database { pool, system, run: run.into() })
    }

    /// Writes the row of a document, once however often it comes.
    pub(crate) async fn save(&self, result: &Classified) -> Result<(), sqlx::Error> {
        const INSERT: &str = "INSERT INTO documents (run, id, class, similarity, words) \
                              VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        let insert = sqlx::query(INSERT).bind(&*self.run).bind(&result.id).bind(&result.class);
        let insert = insert.bind(f64::from(result.similarity)).bind(result.words as i64);
        self.spanned("INSERT documents", insert.execute(&self.pool)).await.map(drop)
    }

    /// Notes that an event came for this document.
    pub(crate) async fn note(&self, id: &str) -> Result<(), sqlx::Error> {
        const INSERT: &str = "INSERT INTO audited (run, id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let insert = sqlx::query(INSERT).bind(&*self.run).bind(id);
        self.spanned("INSERT audited", insert.execute(&self.pool)).await.map(drop)
    }

    /// Keeps a dead letter whole; one that comes back from a replay is there to be replayed again.
    pub(crate) async fn keep(&self, id: &str, reason: &str, letter: &Message) -> Result<(), BoxError> {
        const INSERT: &str = "INSERT INTO letters (run, id, reason, message) VALUES ($1, $2, $3, $4) \
                              ON CONFLICT (run, id) DO UPDATE SET reason = $3, message = $4, replayed = 0";
        let message = serde_json::to_string(&Letter::from(letter))?;
        let insert = sqlx::query(INSERT).bind(&*self.run).bind(id).bind(reason).bind(message);
        self.spanned("INSERT letters", insert.execute(&self.pool)).await?;
        Ok(())
    }

    /// The dead letters that were not replayed: id, reason and message.
    pub(crate) async fn letters(&self) -> Result<Vec<(String, String, Message)>, BoxError> {
        const SELECT: &str =
            "SELECT id, reason, message FROM letters WHERE run = $1 AND replayed = 0 ORDER BY id";
        let rows = sqlx::query(SELECT).bind(&*self.run).fetch_all(&self.pool).await?;
        let letter = |row: &sqlx::any::AnyRow| -> Result<_, BoxError> {
            let letter: Letter = serde_json::from_str(row.try_get("message")?)?;
            Ok((row.try_get("id")?, row.try_get("reason")?, letter.into()))
        };
        rows.iter().map(letter).collect()
    }

    pub(crate) async fn replayed(&self, id: &str) -> Result<(), sqlx::Error> {
        const UPDATE: &str = "UPDATE letters SET replayed = 1 WHERE run = $1 AND id = $2";
        sqlx::query(UPDATE).bind(&*self.run).bind(id).execute(&self.pool).await.map(drop)
    }

    pub(crate) async fn counts(&self) -> Result<Counts, sqlx::Error> {
        let count = async |query: &'static str| {
            let number: i64 = sqlx::query_scalar(query).bind(&*self.run).fetch_one(&self.pool).await?;
            Ok::<_, sqlx::Error>(number as usize)
        };
        Ok(Counts {
            stored: count("SELECT COUNT(*) FROM documents WHERE run = $1").await?,
            audited: count("SELECT COUNT(*) FROM audited WHERE run = $1").await?,
            letters: count("SELECT COUNT(*) FROM letters WHERE run = $1 AND replayed = 0").await?,
        })
    }

    /// A CLIENT span around a query, inside what is current.
    async fn spanned<T>(
        &self,
        summary: &'static str,
        query: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let attributes =
            vec![KeyValue::new("db.system.name", self.system), KeyValue::new("db.query.summary", summary)];
        let span = SpanBuilder::from_name(summary).with_kind(SpanKind::Client).with_attributes(attributes);
        http::spanned(span, query).await
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("system", &self.system)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// A message as text: payload and header values as bytes, whatever they are.
#[derive(serde::Deserialize, serde::Serialize)]
struct Letter {
    payload: Vec<u8>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl From<&Message> for Letter {
    fn from(message: &Message) -> Self {
        let headers = message.headers().iter();
        let headers = headers
            .map(|header| (header.name.to_string(), header.value.as_ref().map(|value| value.to_vec())));
        Letter { payload: message.payload().to_vec(), headers: headers.collect() }
    }
}

impl From<Letter> for Message {
    fn from(letter: Letter) -> Self {
        let mut message = Message::new(letter.payload);
        for (name, value) in letter.headers {
            message.headers_mut().append(name, value.map(Into::into));
        }
        message
    }
}
