//! The four providers and the people who have mailboxes there, or had.

use anyhow::Result;
use nixie_lab::provider::{Mailbox, Provider, Script, Tally};

/// Addresses at each provider.
const PEOPLE: usize = 40;
/// Every so many-th of them is dead.
const DEAD_EVERY: usize = 7;

/// A provider in the demo.
pub struct Place {
    /// What people call it.
    pub name: &'static str,
    /// The domain of its addresses.
    pub domain: &'static str,
    /// The server.
    pub provider: Provider,
    /// Everybody on the list there, the dead included.
    pub people: Vec<String>,
    /// How many of them can take mail.
    pub living: usize,
}

/// Starts the four providers.
pub fn build() -> Result<Vec<Place>> {
    Ok(vec![
        place("Gmail", "gmail.example", Script::gmail().limited(240, 30))?,
        place("Outlook", "outlook.example", Script::outlook().limited(240, 30))?,
        place("Yahoo", "yahoo.example", Script::yahoo().limited(300, 30))?,
        place("a small one", "small.example", Script::small())?,
    ])
}

fn place(name: &'static str, domain: &'static str, mut script: Script) -> Result<Place> {
    let mut people = Vec::new();
    for number in 1..=PEOPLE {
        let mailbox = match number {
            n if n % DEAD_EVERY == 0 => Some(("gone", Mailbox::Dead)),
            20 => Some(("full", Mailbox::Full)),
            30 if name == "a small one" => Some(("late", Mailbox::Late)),
            _ => None,
        };
        let address = format!("{}{number}@{domain}", mailbox.map_or("reader", |(word, _)| word));
        if let Some((_, mailbox)) = mailbox {
            script = script.with(mailbox, [address.as_str()]);
        }
        people.push(address);
    }
    let absent = script
        .mailboxes
        .values()
        .filter(|m| matches!(m, Mailbox::Dead | Mailbox::Full))
        .count();
    Ok(Place {
        name,
        domain,
        provider: Provider::start(script)?,
        living: people.len() - absent,
        people,
    })
}

impl Place {
    /// Whether every living reader here has got `rounds` messages, but for those at late mailboxes,
    /// which may be suppressed by then.
    pub fn has_all(&self, tally: &Tally, rounds: usize) -> bool {
        let readers = self.people.iter().filter(|address| address.starts_with("reader"));
        let expected = readers.count() * rounds;
        let taken = tally
            .answers
            .iter()
            .filter(|a| a.recipient.starts_with("reader") && is_taken(a))
            .count();
        taken >= expected
    }
}

fn is_taken(answer: &nixie_lab::provider::Answer) -> bool {
    answer.stage == nixie_lab::provider::Stage::Message && answer.code == 250
}
