//! Kept events, told again in the order in which they happened: for judging them by other rules.
//!
//! A page is read by the events' ids, which begin with their time: no sort, and no index but the primary key. A row
//! that does not read as an event (an address of which only a hash is kept has no domain) is told with a stand-in
//! where that does no harm, and left out where it would.

use super::contract::{Retold, StoreError};
use super::row;
use super::session::{Args, Fault, Row, Session, Value};
use super::{Store, event};
use crate::engine::trust::Trust;
use crate::engine::verdict::{Remedy, Scope, Verdict};
use crate::mail::address::{Address, AddressKey};
use crate::mail::event::{Authentication, Event, EventId, Evidence, Outcome, Relay, Source};
use crate::mail::reply::{Reply, ReplyCode};
use jiff::Timestamp;

impl Store {
    /// The events from `since` on, after one, in order, at most `limit`; and the last one's id, `None` at the end.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn retell(
        &self,
        since: Timestamp,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<(Vec<Retold>, Option<EventId>), StoreError> {
        Ok(page(&mut self.reader().await?, since, after, limit).await?)
    }
}

/// The id that no event before this time reaches.
#[must_use]
pub(super) fn first_id(at: Timestamp) -> EventId {
    let millis = at.as_millisecond().max(0).to_be_bytes();
    let mut id = [0; 16];
    id[..6].copy_from_slice(&millis[2..]);
    EventId(id)
}

async fn page(
    session: &mut Session,
    since: Timestamp,
    after: Option<EventId>,
    limit: u32,
) -> Result<(Vec<Retold>, Option<EventId>), Fault> {
    let from = after.unwrap_or_else(|| first_id(since));
    let rows = session
        .fetch(
            "SELECT id, at, source, outcome, recipient, mailed, sender, queue_id, message_id, relay_host, relay_ip,
                    provider, code, status, reported_status, reply, rule, cause, scope, permanent, remedy, trust,
                    repeat_of, reporting_mta, command, sasl_username, evidence
             FROM event WHERE id > $1 ORDER BY id LIMIT $2",
            Args::Values(vec![
                Value::Octets(from.0.to_vec()),
                Value::Int(Some(limit.into())),
            ]),
        )
        .await?;
    let last = rows.last().map(|row| row.get::<Vec<u8>>(0)).transpose()?;
    let last = last.map(|id| row::sixteen(&id).map(EventId)).transpose()?;
    let told: Result<Vec<Option<Retold>>, Fault> = rows.iter().map(retold).collect();
    Ok((told?.into_iter().flatten().collect(), last))
}

fn retold(row: &Row) -> Result<Option<Retold>, Fault> {
    let text = |column: usize| row.get::<Option<String>>(column);
    let named = |column: usize| Ok::<_, Fault>(text(column)?.unwrap_or_default());
    let mailed = AddressKey::from_stored(&row.get::<String>(5)?);
    let Some((recipient, original)) = addresses(&row.get::<String>(4)?, &mailed) else {
        return Ok(None);
    };
    let source = Source::from_name(&named(2)?).unwrap_or(Source::File);
    let trust = Trust::from_name(&named(21)?).unwrap_or(Trust::Unverified);
    let verdict = verdict(row)?;
    let code: Option<i64> = row.get(12)?;
    let evidence = text(26)?;
    let command = text(24)?;
    let event = Event {
        id: EventId(row::sixteen(&row.get::<Vec<u8>>(0)?)?),
        at: row::timestamp(row.get(1)?),
        source,
        outcome: Outcome::from_name(&named(3)?).unwrap_or(Outcome::Deferred),
        evidence: match evidence.as_deref() {
            Some(name) if name == event::evidence_name(Evidence::Doubtful) => Evidence::Doubtful,
            Some(_) => Evidence::Fresh,
            // Of an older version: a remedy that waits for more is as good as doubt.
            None if verdict.remedy == Remedy::SuppressIfRepeated => Evidence::Doubtful,
            None => Evidence::Fresh,
        },
        recipient,
        original_recipient: original,
        sender: text(6)?,
        sasl_username: text(25)?,
        queue_id: text(7)?,
        message_id: text(8)?,
        envelope_id: None,
        relay: text(9)?.map(|host| Relay {
            host,
            ip: text(10).ok().flatten(),
            port: None,
        }),
        command: command.clone(),
        reply: Reply {
            code: code.and_then(|code| ReplyCode::new(u16::try_from(code).ok()?)),
            status: text(13)?.and_then(|status| status.parse().ok()),
            text: named(15)?,
        },
        reported_status: text(14)?.and_then(|status| status.parse().ok()),
        reporting_mta: text(23)?,
        return_path: None,
        own: trust == Trust::Own,
        authentication: Authentication::Untried,
    };
    Ok(Some(Retold {
        event,
        mailed,
        verdict,
        provider: text(11)?,
        trust,
        is_repeat: row.get::<Option<Vec<u8>>>(22)?.is_some(),
        is_whole: source != Source::Log || (evidence.is_some() && command.is_some()),
    }))
}

/// The address that was tried, and the one that was mailed where it is another. What only a hash is kept of has
/// stand-ins at two domains that there are not, so that nothing is thought to have failed at home.
fn addresses(recipient: &str, mailed: &AddressKey) -> Option<(Address, Option<Address>)> {
    if mailed.as_str().starts_with('#') {
        let stand_in = |domain: &str| Address::parse(&format!("hidden@{domain}")).ok();
        return Some((stand_in("tried.invalid")?, Some(stand_in("mailed.invalid")?)));
    }
    let tried = Address::parse(recipient).ok()?;
    let mailed = Address::parse(mailed.as_str()).ok()?;
    let same = tried == mailed;
    Some((tried, (!same).then_some(mailed)))
}

fn verdict(row: &Row) -> Result<Verdict, Fault> {
    let scope: String = row.get(18)?;
    let remedy: String = row.get(20)?;
    Ok(Verdict {
        cause: row::cause(&row.get::<String>(17)?),
        sub_cause: None,
        scope: Scope::from_name(&scope).unwrap_or(Scope::None),
        permanent: row.get::<i64>(19)? != 0,
        remedy: Remedy::from_name(&remedy).unwrap_or(Remedy::None),
        rule: row.get::<String>(16)?.into(),
        hold: None,
        throttle: None,
        advice: None,
    })
}
