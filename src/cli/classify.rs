//! `nixie classify`: what messages or replies mean, without a store. One line out for each message, or
//! for each reply, in their order; as a table for people, as JSON Lines for programs.
//!
//! What cannot be read is one line on the standard error that names it; the rest is done, and the exit
//! code is 1. A log holds no messages: `nixie ingest` reads those.

mod line;
mod output;

pub(super) use output::plain;

use super::walk::{self, Form};
use crate::clock;
use crate::config::Settings;
use crate::engine::classify::judge;
use crate::engine::heard::Heard;
use crate::engine::provider::Providers;
use crate::engine::rule::RuleSet;
use crate::engine::verdict::{Cause, Remedy, Verdict};
use crate::mail::event::{Event, Source};
use crate::mail::message::{self, Envelope, Mention, Reading};
use crate::mail::reply::{Reply, ReplyCode};
use clap::Args;
use line::{MessageLine, RecipientLine, ReplyLine, VerdictLine};
use output::Output;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The longest reply that is read, in octets; what follows on its line is passed over.
const MAX_LINE: u64 = 64 * 1024;
/// Octets read from a file at once.
const BUFFER: usize = 256 * 1024;

/// Arguments of `nixie classify`.
#[derive(Debug, Args)]
pub struct ClassifyArguments {
    /// Read SMTP replies, one a line, perhaps after an MX host or a provider and a tab
    #[arg(long)]
    pub replies: bool,
    /// JSON Lines instead of a table
    #[arg(long)]
    pub json: bool,
    /// Messages, mbox files, Maildirs or directories of them; - is the standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Why the command stops, or a file is left.
enum Trouble {
    /// Nobody can be told any more.
    Output(io::Error),
    /// This file cannot be read.
    Input(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Input(error.into())
    }
}

/// Runs the command.
///
/// # Errors
/// Where the rules or the providers cannot be read, or the standard output cannot be written.
pub fn run(options: &ClassifyArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let bench = crate::serve::bench_in_clear(settings)?;
    let header = if options.replies {
        output::REPLIES
    } else {
        output::MESSAGES
    };
    let mut clerk = Clerk {
        rules: &bench.rules,
        providers: &bench.providers,
        output: Output::new(options.json, header),
    };
    match clerk.all(options) {
        Ok(failed) => Ok(if failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(anyhow::Error::new(error).context("the standard output")),
    }
}

/// Who reads, judges and writes.
struct Clerk<'a> {
    rules: &'a RuleSet,
    providers: &'a Providers,
    output: Output,
}

impl Clerk<'_> {
    /// Does every path; whether something could not be read.
    fn all(&mut self, options: &ClassifyArguments) -> io::Result<bool> {
        let mut failed = false;
        for path in &options.paths {
            let mut files = Vec::new();
            if is_standard_input(path) || options.replies {
                files.push(path.clone());
            } else {
                walk::collect(path, &mut files, &mut |path, error| {
                    eprintln!("{}: {error}", path.display());
                    failed = true;
                });
            }
            for file in &files {
                let done = if options.replies {
                    self.replies(file)
                } else {
                    self.messages(file)
                };
                match done {
                    Ok(()) => {}
                    Err(Trouble::Output(error)) => return Err(error),
                    Err(Trouble::Input(error)) => {
                        eprintln!("{}: {error:#}", name(file));
                        failed = true;
                    }
                }
            }
        }
        self.output.finish()?;
        Ok(failed)
    }

    fn messages(&mut self, file: &Path) -> Result<(), Trouble> {
        let (head, open) = walk::head(open(file)?)?;
        let name = name(file);
        match walk::form(file, &head, clock::now(), "a message, an mbox or a Maildir")? {
            Form::Message => self.message(name, &walk::message(open)?),
            Form::Mbox => {
                let messages = walk::Mbox::new(BufReader::with_capacity(BUFFER, open));
                for (index, raw) in messages.enumerate() {
                    self.message(format!("{name}#{}", index + 1), &raw?)?;
                }
                Ok(())
            }
            Form::Log => Err(Trouble::Input(anyhow::anyhow!(
                "expected a message, an mbox or a Maildir, found a log; `nixie ingest` reads logs"
            ))),
        }
    }

    fn message(&mut self, source: String, raw: &[u8]) -> Result<(), Trouble> {
        let reading = message::read(raw);
        let events = message::events(&reading, Envelope::default(), Source::File, clock::now());
        let line = MessageLine {
            source,
            kind: line::kind(reading.kind),
            format: reading.format,
            recipients: recipients(self.rules, self.providers, &reading, &events),
        };
        self.output.message(&line).map_err(Trouble::Output)
    }

    /// One line out for each line in. Somebody may be asking line by line: what is known is handed out
    /// before more is waited for.
    fn replies(&mut self, file: &Path) -> Result<(), Trouble> {
        let mut reader = BufReader::with_capacity(BUFFER, open(file)?);
        let mut line = Vec::new();
        let mut first = true;
        loop {
            if reader.buffer().is_empty() {
                self.output.flush().map_err(Trouble::Output)?;
            }
            line.clear();
            if (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line.last() != Some(&b'\n') {
                reader.skip_until(b'\n')?;
            }
            if std::mem::take(&mut first) && line.starts_with(b"\xef\xbb\xbf") {
                line.drain(..3);
            }
            self.reply(&String::from_utf8_lossy(line_of(&line)))?;
        }
    }

    fn reply(&mut self, line: &str) -> Result<(), Trouble> {
        let (named, text) = apart(line);
        let heard = Heard::new(text);
        let speaker = |name| {
            let provider = self
                .providers
                .of_host(name)
                .or_else(|| self.providers.named(name));
            let id = provider.map(|provider| provider.id.as_str());
            id.or_else(|| self.providers.speaker(name).filter(|_| !name.contains(' ')))
        };
        let speaker = named
            .and_then(speaker)
            .or_else(|| self.providers.speaker(heard.host.as_deref()?));
        let provider = speaker.filter(|id| self.providers.get(id).is_some());
        let verdict = heard.verdict(self.rules, speaker);
        let line = ReplyLine {
            reply: text,
            provider,
            code: heard.reply.code.map(ReplyCode::get),
            status: heard.reply.status.map(|status| status.to_string()),
            verdict: VerdictLine(verdict),
        };
        self.output.reply(&line).map_err(Trouble::Output)
    }
}

/// Whom a message is about: whom its events are about, and of whom it speaks without making one.
fn recipients<'a>(
    rules: &RuleSet,
    providers: &'a Providers,
    reading: &Reading,
    events: &[Event],
) -> Vec<RecipientLine<'a>> {
    let mentions = reading.mentions();
    let judged = events.iter().map(|event| recipient(rules, providers, event));
    judged.chain(mentions.iter().map(mentioned)).collect()
}

fn recipient<'a>(rules: &RuleSet, providers: &'a Providers, event: &Event) -> RecipientLine<'a> {
    let (verdict, _) = judge(rules, providers, "", event);
    let host = event.relay.as_ref().map(|relay| relay.host.as_str());
    let status = event.reply.status.or(event.reported_status);
    RecipientLine {
        address: event.recipient.to_string(),
        original_address: event.original_recipient.as_ref().map(ToString::to_string),
        action: line::action(event.outcome),
        code: event.reply.code.map(ReplyCode::get),
        status: status.map(|status| status.to_string()),
        reply: Some(event.reply.to_string()).filter(|reply| !reply.is_empty()),
        provider: host.and_then(|host| id_of(providers, host)),
        verdict: VerdictLine(verdict),
    }
}

/// Somebody of whom a message speaks without making an event of it: nothing comes of it either.
fn mentioned<'a>(mention: &Mention<'_>) -> RecipientLine<'a> {
    let cause = match mention.answers {
        true => Cause::AutoReply,
        false => Cause::AuthFailed,
    };
    RecipientLine {
        address: mention.address.to_string(),
        original_address: None,
        action: None,
        code: None,
        status: None,
        reply: Some(mention.text.to_owned()).filter(|text| !text.is_empty()),
        provider: None,
        verdict: VerdictLine(Verdict {
            cause,
            sub_cause: None,
            scope: cause.scope(),
            permanent: false,
            remedy: Remedy::None,
            rule: "none".into(),
            hold: None,
            throttle: None,
            advice: None,
        }),
    }
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if is_standard_input(path) {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(Box::new(file))
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn id_of<'a>(providers: &'a Providers, host: &str) -> Option<&'a str> {
    providers.of_host(host).map(|provider| provider.id.as_str())
}

/// A line without its end.
fn line_of(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The MX host or the provider in front of a tab, and the reply. A tab may stand in a reply, too: what is
/// before it is a name only if it is no code, and one word, or followed by a code.
fn apart(line: &str) -> (Option<&str>, &str) {
    match line.split_once('\t') {
        Some((name, text)) if !is_code(name) && (!name.contains(' ') || is_code(text)) => (Some(name), text),
        _ => (None, line),
    }
}

fn is_code(word: &str) -> bool {
    let reply = Reply::parse(word);
    reply.code.is_some() || reply.status.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_before_a_tab() {
        let table = [
            ("google\t550 5.1.1 x", (Some("google"), "550 5.1.1 x")),
            ("mx.x.test.\t550\tx", (Some("mx.x.test."), "550\tx")),
            ("\t550 x", (Some(""), "550 x")),
            ("550\t5.1.1 x", (None, "550\t5.1.1 x")),
            ("550-5.1.1\tx", (None, "550-5.1.1\tx")),
            ("5.1.1\tx", (None, "5.1.1\tx")),
            ("550 no\tx", (None, "550 no\tx")),
            ("Cisco ESA\t550 x", (Some("Cisco ESA"), "550 x")),
            ("no such\tuser", (None, "no such\tuser")),
            ("550 x", (None, "550 x")),
            ("", (None, "")),
        ];
        for (line, expected) in table {
            assert_eq!(apart(line), expected, "{line:?}");
        }
    }

    #[test]
    fn lines_lose_their_ends() {
        for (line, expected) in [
            (&b"a\r\n"[..], &b"a"[..]),
            (b"a\n", b"a"),
            (b"a", b"a"),
            (b"\r\n", b""),
            (b"a\r\r\n", b"a\r"),
        ] {
            assert_eq!(line_of(line), expected);
        }
    }
}
