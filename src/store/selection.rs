//! Pages of suppressions, by what they are about, who wrote them and when.
//!
//! A page is read in the order of the numbers, from a cursor on: what is written meanwhile comes later or not at all,
//! and none comes twice. Conditions that no index serves are tested row by row, from the cursor on, until the page
//! is full.

use super::contract::Filter;
use super::row::{self, micros};
use super::session::{Args, Fault, Session, Value};
use crate::engine::suppression::Suppression;
use crate::mail::address::canonical_domain;

/// Reads a page.
pub(super) async fn page(session: &mut Session, filter: &Filter) -> Result<Vec<Suppression>, Fault> {
    let limit = if filter.limit == 0 {
        Filter::PAGE
    } else {
        filter.limit
    };
    let domain = filter
        .domain
        .as_deref()
        .map(|domain| canonical_domain(domain).unwrap_or_else(|| domain.to_ascii_lowercase()));
    let domain = domain.as_deref().map(literal);
    let stream = filter.stream.as_deref().map(literal);
    let source = filter.source.as_deref().map(literal);
    let values = vec![
        Value::Int(Some(filter.after.map_or(0, |id| id.0))),
        Value::Text(filter.cause.map(|cause| cause.name().to_owned())),
        Value::Text(domain.as_ref().map(|domain| format!("%@{domain}"))),
        Value::Text(domain.as_ref().map(|domain| format!("%@{domain} %"))),
        Value::Int(filter.since.map(micros)),
        Value::Int(filter.until.map(micros)),
        Value::Text(stream.map(|stream| format!("% {stream}"))),
        Value::Text(filter.source.clone()),
        Value::Text(source.map(|source| format!("{source} %"))),
        Value::Text(filter.provider.clone()),
        Value::Text(filter.standing.map(|standing| standing.name().to_owned())),
        Value::Int(filter.operation.map(|operation| operation.0)),
        Value::Int(Some(limit.into())),
    ];
    let rows = session
        .fetch(
            "SELECT id, address, cause, since, expires, author, reason, event, provider, standing, term FROM suppression
             WHERE id > $1 AND ($2 IS NULL OR cause = $2)
                 AND ($3 IS NULL OR address LIKE $3 ESCAPE '!' OR address LIKE $4 ESCAPE '!')
                 AND ($5 IS NULL OR since >= $5) AND ($6 IS NULL OR since < $6)
                 AND ($7 IS NULL OR address LIKE $7 ESCAPE '!')
                 AND ($8 IS NULL OR author = $8 OR author LIKE $9 ESCAPE '!')
                 AND ($10 IS NULL OR provider = $10) AND ($11 IS NULL OR standing = $11)
                 AND ($12 IS NULL OR operation = $12)
             ORDER BY id LIMIT $13",
            Args::Values(values),
        )
        .await?;
    rows.iter().map(row::suppression).collect()
}

/// A text as a `LIKE` pattern that matches nothing else.
pub(super) fn literal(text: &str) -> String {
    text.replace('!', "!!")
        .replace('%', "!%")
        .replace('_', "!_")
        .replace('\0', "")
}
