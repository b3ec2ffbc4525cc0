//! Messages that left with a signed return path: whom they went to, and from whom.

use super::Store;
use super::contract::{SentTo, StoreError};
use super::keep::write;
use super::row::micros;
use super::session::{Args, Fault, Rows, Session, Value, clean};
use crate::engine::trust::Signed;
use crate::mail::address::AddressKey;
use std::collections::BTreeMap;

/// Rows looked at in a step.
const STEP: i64 = 20_000;

impl Store {
    /// Whom the message of a token went to, and from whom; nothing where it is not known any more.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn signed(&self, identity: &[u8; 16]) -> Result<Vec<SentTo>, StoreError> {
        Ok(of(&mut self.reader().await?, identity).await?)
    }

    /// Forgets that signed messages went to an address, a step of them at a time; returns how many. They are kept by
    /// their tokens, and so all are looked at.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: those before are gone.
    pub async fn forget_signed(&self, mailed: &AddressKey) -> Result<u64, StoreError> {
        let mut after = Vec::new();
        let mut gone = 0;
        loop {
            let mut session = self.begin().await?;
            let rows = session
                .fetch(
                    "SELECT identity FROM signed WHERE identity > $1 ORDER BY identity LIMIT $2",
                    Args::Values(vec![Value::Octets(after.clone()), Value::Int(Some(STEP))]),
                )
                .await?;
            let Some(last) = rows.last() else { return Ok(gone) };
            let last: Vec<u8> = last.get(0)?;
            let values = vec![
                Value::Octets(after),
                Value::Octets(last.clone()),
                Value::text(mailed.as_str()),
            ];
            gone += session
                .run(
                    "DELETE FROM signed WHERE identity > $1 AND identity <= $2 AND mailed = $3",
                    Args::Values(values),
                )
                .await?;
            session.commit().await?;
            after = last;
        }
    }
}

async fn of(session: &mut Session, identity: &[u8; 16]) -> Result<Vec<SentTo>, Fault> {
    let rows = session
        .fetch(
            "SELECT mailed, sender FROM signed WHERE identity = $1 ORDER BY mailed",
            Args::Values(vec![Value::Octets(identity.to_vec())]),
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(SentTo {
                mailed: AddressKey::from_stored(&row.get::<String>(0)?),
                sender: row.get(1)?,
            })
        })
        .collect()
}

/// Keeps them. What is known already stays as it is.
pub(super) async fn keep(session: &mut Session, messages: &[Signed]) -> Result<(), Fault> {
    let sent: BTreeMap<([u8; 16], String), &Signed> = messages
        .iter()
        .flat_map(|signed| {
            let mailed = signed.mailed.iter();
            mailed.map(move |mailed| ((signed.identity, clean(mailed.as_str())), signed))
        })
        .collect();
    let rows = Rows::new()
        .octets("identity", sent.keys().map(|(identity, _)| identity.as_slice()))
        .texts("mailed", sent.keys().map(|(_, mailed)| mailed.as_str()))
        .texts("sender", sent.values().map(|signed| signed.sender.as_str()))
        .ints("at", sent.values().map(|signed| micros(signed.at)));
    write(
        session,
        "INSERT INTO signed (identity, mailed, sender, at) SELECT identity, mailed, sender, at FROM {given} WHERE true
         ON CONFLICT (identity, mailed) DO NOTHING",
        rows,
    )
    .await
    .map(drop)
}
