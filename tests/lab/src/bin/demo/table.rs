//! The closing table.

use crate::round::Outcome;
use nixie_lab::provider::{Stage, Tally};
use std::fmt::Write;

/// One figure of a run.
type Figure = fn(&Tally) -> usize;

/// The figures that the providers counted.
const FIGURES: &[(&str, Figure)] = &[
    ("delivered", |t| count(t, Stage::Message, 250)),
    ("refused: no such mailbox", |t| refusals(t, 500..600)),
    ("refused: slow down", |t| t.slow_downs()),
    ("refused: mailbox full", |t| count(t, Stage::Recipient, 452)),
];

/// Both runs side by side.
pub fn compare(without: &Outcome, with: &Outcome) -> String {
    let mut table = String::new();
    line(&mut table, "", "without Nixie", "with Nixie");
    number(
        &mut table,
        "messages handed over",
        without.submitted,
        with.submitted,
    );
    number(
        &mut table,
        "refused early, at RCPT",
        without.refused_at_rcpt,
        with.refused_at_rcpt,
    );
    number(
        &mut table,
        "bounced from the queue, unsent",
        without.bounced_unsent,
        with.bounced_unsent,
    );
    for (name, figure) in FIGURES {
        number(&mut table, name, total(without, *figure), total(with, *figure));
        for ((place, left), (_, right)) in without.places.iter().zip(&with.places) {
            if figure(left) + figure(right) > 0 {
                number(&mut table, &format!("    {place}"), figure(left), figure(right));
            }
        }
    }
    let refused: Figure = |t| usize::try_from(t.refusals()).unwrap_or(usize::MAX);
    number(
        &mut table,
        "provider refusals in all",
        total(without, refused),
        total(with, refused),
    );
    number(&mut table, "left in the queue", without.waiting, with.waiting);
    let seconds = |outcome: &Outcome| format!("{:.0} s", outcome.took.as_secs_f64());
    line(
        &mut table,
        "until the last delivery",
        &seconds(without),
        &seconds(with),
    );
    table
}

fn line(table: &mut String, name: &str, without: &str, with: &str) {
    let _ = writeln!(table, "{name:<34}{without:>15}{with:>13}");
}

fn number(table: &mut String, name: &str, without: usize, with: usize) {
    line(table, name, &without.to_string(), &with.to_string());
}

fn total(outcome: &Outcome, figure: Figure) -> usize {
    outcome.places.iter().map(|(_, tally)| figure(tally)).sum()
}

fn count(tally: &Tally, stage: Stage, code: u16) -> usize {
    tally
        .answers
        .iter()
        .filter(|a| a.stage == stage && a.code == code)
        .count()
}

fn refusals(tally: &Tally, codes: std::ops::Range<u16>) -> usize {
    tally.answers.iter().filter(|a| codes.contains(&a.code)).count()
}
