//! Privacy: a store keeps addresses in clear, or their hashes under one key, from its beginning. Which, it remembers by
//! a mark of the key: with another key, or without, nobody would be found, and the dead would be mailed.

use super::Store;
use super::contract::StoreError;
use super::session::{Args, Fault, Session, Value};
use subtle::ConstantTimeEq as _;

impl Store {
    /// The store, to keep hashes under the key of this mark; `None` for addresses in clear. It is held to it when its
    /// schema is brought up to date.
    #[must_use]
    pub fn veiled(mut self, mark: Option<[u8; 16]>) -> Self {
        match &mut self {
            Self::Sqlite(store) => store.mark = mark,
            Self::Postgres(store) => store.mark = mark,
        }
        self
    }

    pub(super) async fn agree(&self) -> Result<(), StoreError> {
        let mark = match self {
            Self::Sqlite(store) => store.mark,
            Self::Postgres(store) => store.mark,
        };
        let stored = stored(&mut self.reader().await?).await?;
        match (mark, stored) {
            (None, None) => Ok(()),
            (Some(mark), Some(stored)) if bool::from(stored.ct_eq(&mark[..])) => Ok(()),
            (Some(_), Some(_)) => Err(StoreError::Veil("the store keeps its hashes under another key")),
            (None, Some(_)) => Err(StoreError::Veil(
                "the store keeps hashes of addresses: expected the key, found none",
            )),
            (Some(mark), None) => self.draw(mark).await,
        }
    }

    /// Begins to keep hashes, in a store that has nothing yet.
    async fn draw(&self, mark: [u8; 16]) -> Result<(), StoreError> {
        let mut session = self.begin().await?;
        if !is_empty(&mut session).await? {
            return Err(StoreError::Veil(
                "the store has addresses in clear: export them, and import them into a new one",
            ));
        }
        session
            .run(
                "INSERT INTO horizon (name, first) VALUES ('veil', $1) ON CONFLICT (name) DO NOTHING",
                Args::Values(vec![Value::Octets(mark.to_vec())]),
            )
            .await?;
        session.commit().await?;
        // Of two that begin at once with two keys, one is wrong.
        match stored(&mut self.reader().await?).await? {
            Some(stored) if bool::from(stored.ct_eq(&mark[..])) => Ok(()),
            _ => Err(StoreError::Veil("the store keeps its hashes under another key")),
        }
    }
}

async fn stored(session: &mut Session) -> Result<Option<Vec<u8>>, Fault> {
    let rows = session
        .fetch("SELECT first FROM horizon WHERE name = 'veil'", Args::None)
        .await?;
    rows.first().map(|row| row.get(0)).transpose()
}

async fn is_empty(session: &mut Session) -> Result<bool, Fault> {
    let rows = session
        .fetch(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM suppression) OR EXISTS (SELECT 1 FROM event)
                 OR EXISTS (SELECT 1 FROM unread)",
            Args::None,
        )
        .await?;
    Ok(rows.is_empty())
}
