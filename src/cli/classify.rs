//! `nixie classify`: what messages or replies mean, without a store. One line out for each message, or
//! for each reply, in their order.

use crate::clock;
use crate::config::Settings;
use crate::engine::classify::{classify, judge};
use crate::engine::provider::Providers;
use crate::engine::rule::RuleSet;
use crate::engine::verdict::{Cause, Remedy, Verdict};
use crate::mail::event::{Event, Source};
use crate::mail::message::{self, Envelope, Kind, Mention};
use crate::mail::reply::Reply;
use clap::Args;
use serde::Serialize;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

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

#[derive(Debug, Serialize)]
struct MessageLine<'a> {
    source: String,
    kind: &'static str,
    format: Option<&'static str>,
    recipients: Vec<RecipientLine<'a>>,
}

#[derive(Debug, Serialize)]
struct RecipientLine<'a> {
    address: String,
    original_address: Option<String>,
    action: &'static str,
    code: Option<u16>,
    status: Option<String>,
    reply: String,
    provider: Option<&'a str>,
    #[serde(flatten)]
    verdict: VerdictLine,
}

#[derive(Debug, Serialize)]
struct VerdictLine {
    cause: &'static str,
    sub_cause: Option<String>,
    scope: &'static str,
    permanent: bool,
    remedy: &'static str,
    rule: String,
}

#[derive(Debug, Serialize)]
struct ReplyLine<'a> {
    reply: &'a str,
    provider: Option<&'a str>,
    code: Option<u16>,
    status: Option<String>,
    #[serde(flatten)]
    verdict: VerdictLine,
}

impl From<Verdict> for VerdictLine {
    fn from(verdict: Verdict) -> Self {
        Self {
            cause: verdict.cause.name(),
            sub_cause: verdict.sub_cause.map(|s| s.to_string()),
            scope: verdict.scope.name(),
            permanent: verdict.permanent,
            remedy: verdict.remedy.name(),
            rule: verdict.rule.to_string(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Where the rules or the providers cannot be read.
pub fn run(options: &ClassifyArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let bench = crate::serve::bench(settings)?;
    let (rules, providers) = (&bench.rules, &bench.providers);
    for path in &options.paths {
        if options.replies {
            let file = std::io::BufReader::new(std::fs::File::open(path)?);
            for line in file.lines() {
                reply(&line?, rules, providers)?;
            }
        } else {
            let mut files: Vec<_> = if path.is_dir() {
                std::fs::read_dir(path)?
                    .map(|e| e.map(|e| e.path()))
                    .collect::<Result<_, _>>()?
            } else {
                vec![path.clone()]
            };
            files.sort();
            for file in files {
                one(&file, rules, providers)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn one(path: &Path, rules: &RuleSet, providers: &Providers) -> anyhow::Result<()> {
    let raw = std::fs::read(path)?;
    let reading = message::read(&raw);
    let events = message::events(&reading, Envelope::default(), Source::File, clock::now());
    let line = MessageLine {
        source: path.display().to_string(),
        kind: match reading.kind {
            Kind::Bounce => "bounce",
            Kind::Delay => "delay",
            Kind::Delivered => "delivered",
            Kind::Complaint => "complaint",
            Kind::AutoReply => "auto_reply",
            Kind::None => "none",
        },
        format: reading.format,
        recipients: events
            .iter()
            .map(|event| recipient(event, rules, providers))
            .chain(reading.mentions().iter().map(mentioned))
            .collect(),
    };
    say!("{}", serde_json::to_string(&line)?);
    Ok(())
}

fn recipient<'a>(event: &Event, rules: &RuleSet, providers: &'a Providers) -> RecipientLine<'a> {
    let (verdict, _) = judge(rules, providers, "", event);
    let host = event.relay.as_ref().map(|relay| relay.host.as_str());
    let status = event.reported_status.or(event.reply.status);
    RecipientLine {
        address: event.recipient.to_string(),
        original_address: event.original_recipient.as_ref().map(ToString::to_string),
        action: event.outcome.name(),
        code: event.reply.code.map(|code| code.get()),
        status: status.map(|s| s.to_string()),
        reply: event.reply.to_string(),
        provider: host.and_then(|h| providers.of_host(h)).map(|p| p.id.as_str()),
        verdict: verdict.into(),
    }
}

/// Somebody of whom a message speaks without making an event of it: nothing comes of it either.
fn mentioned<'a>(mention: &Mention<'_>) -> RecipientLine<'a> {
    let (action, cause) = match mention.answers {
        true => ("auto_reply", Cause::AutoReply),
        false => ("auth_failure", Cause::AuthFailed),
    };
    RecipientLine {
        address: mention.address.to_string(),
        original_address: None,
        action,
        code: None,
        status: None,
        reply: mention.text.to_owned(),
        provider: None,
        verdict: VerdictLine {
            cause: cause.name(),
            sub_cause: None,
            scope: cause.scope().name(),
            permanent: false,
            remedy: Remedy::None.name(),
            rule: "outcome.none".to_owned(),
        },
    }
}

fn reply(line: &str, rules: &RuleSet, providers: &Providers) -> anyhow::Result<()> {
    let (named, text) = line.split_once('\t').map_or((None, line), |(n, t)| (Some(n), t));
    let provider = named.and_then(|n| providers.get(n).or_else(|| providers.of_host(n)));
    let provider = provider.map(|p| p.id.as_str());
    let reply = Reply::parse(text);
    let verdict = classify(rules, &reply, None, provider);
    let line = ReplyLine {
        reply: text,
        provider,
        code: reply.code.map(|code| code.get()),
        status: reply.status.map(|s| s.to_string()),
        verdict: verdict.into(),
    };
    say!("{}", serde_json::to_string(&line)?);
    Ok(())
}
