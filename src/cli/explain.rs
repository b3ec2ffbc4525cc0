//! `nixie explain`: what a reply means and what is done about it; what codes, statuses, causes and rules
//! stand for; and search over all of that. Nothing is stored, and nobody's mail is touched.

mod json;
mod page;

use super::classify::plain;
use crate::config::Settings;
use crate::engine::explain::lookup::{self, Named, Subject};
use crate::engine::explain::search::{self, Found, Hit};
use crate::engine::explain::{self, Explanation, KnownBy, words};
use crate::engine::heard::Heard;
use crate::engine::provider::{Provider, Providers};
use crate::engine::rule::{Rule, RuleSet};
use crate::engine::verdict::{Cause, Remedy};
use crate::mail::reply::{Reply, ReplyCode};
use crate::mail::status::{EnhancedStatus, registry};
use crate::serve::keeper::Bench;
use anyhow::{Context as _, bail};
use clap::Args;
use page::Page;
use std::io::Read as _;
use std::process::ExitCode;

/// The longest reply that is read from the standard input, in octets.
const MAX_REPLY: u64 = 64 * 1024;
/// Rules and hits that people are shown of each sort; `--json` has all of them.
const SHOWN: usize = 25;

/// Arguments of `nixie explain`.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// A reply, or a line of Postfix's log (- reads it from the standard input); or a code, a status, a
    /// cause, a provider or a rule's id to look up
    #[arg(required = true, value_name = "REPLY|CODE|STATUS|CAUSE|RULE")]
    pub words: Vec<String>,
    /// Who sent the reply: a provider of the catalogue, or an MX host
    #[arg(long, value_name = "PROVIDER|HOST")]
    pub provider: Option<String>,
    /// Search rules, causes, codes and statuses for these words
    #[arg(long, conflicts_with = "provider")]
    pub search: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Where the rules or the providers cannot be read, or the provider named is none.
pub fn run(options: &ExplainArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let bench = crate::serve::bench_in_clear(settings)?;
    let text = text(&options.words)?;
    let (rules, providers) = (&bench.rules, &bench.providers);
    if options.search {
        return Ok(found(
            &text,
            &search::search(&text, rules, providers),
            options.json,
        ));
    }
    let named = options.provider.as_deref();
    if let Some(name) = named.filter(|name| providers.get(name).is_none() && !name.contains('.')) {
        let known: Vec<&str> = providers
            .all()
            .iter()
            .map(|provider| provider.id.as_str())
            .collect();
        bail!(
            "--provider: expected an MX host or one of {}, found {name:?}",
            known.join(", ")
        );
    }
    let subject = Subject::of(&text, rules, providers);
    if options.json {
        say!("{}", json::subject(&subject, &text, named, &bench));
    } else {
        let mut page = Page::default();
        describe(&mut page, &subject, &text, named, &bench);
        say!("{}", page.text());
    }
    Ok(ExitCode::SUCCESS)
}

fn text(words: &[String]) -> anyhow::Result<String> {
    let text = match words {
        [one] if one == "-" => {
            let mut raw = Vec::new();
            std::io::stdin()
                .take(MAX_REPLY)
                .read_to_end(&mut raw)
                .context("the standard input")?;
            String::from_utf8_lossy(&raw).into_owned()
        }
        words => words.join(" "),
    };
    match text.trim() {
        "" => bail!("expected a reply, a code, a status, a cause or a rule's id, found nothing"),
        text => Ok(text.to_owned()),
    }
}

fn describe(page: &mut Page, subject: &Subject<'_>, text: &str, named: Option<&str>, bench: &Bench) {
    let rules = &bench.rules;
    match *subject {
        Subject::Reply => {
            let heard = Heard::anywhere(text);
            reply(
                page,
                &explain::explain(rules, &bench.providers, heard, named),
                bench,
            );
        }
        Subject::Number(code, status) => number(page, code, status, named, bench),
        Subject::Rule(rule) => one_rule(page, rule, &bench.providers),
        Subject::Cause(cause) => one_cause(page, cause, rules),
        Subject::SubCause(of, name) => {
            page.title(name);
            page.row("meaning", &words::sub_cause(of, name).unwrap_or_default());
            page.row("kind of", &format!("{of}: {}", words::cause(of)));
            page.row("you", words::advice(of, Some(name)));
            listed(
                page,
                "Rules",
                &lookup::of_sub_cause(rules, name).collect::<Vec<_>>(),
            );
        }
        Subject::Provider(provider) => one_provider(page, provider, rules),
    }
}

fn reply(page: &mut Page, said: &Explanation<'_>, bench: &Bench) {
    page.title(&said.heard.reply.to_string());
    if let Some(circumstance) = explain::circumstance(said.heard.phase) {
        page.row("said", circumstance);
    }
    numbers(page, said.heard.reply.code, said.status);
    let provider = match said.provider {
        Some((provider, by)) => format!("{} ({}), {}", provider.name, provider.id, known(by)),
        None => match &said.heard.host {
            Some(host) => format!("none of the catalogue: {host}"),
            None => "not known (--provider names it, or the MX host)".to_owned(),
        },
    };
    page.row("provider", &provider);
    verdict(page, said, bench);
    match said.rule {
        Some(rule) => page.row("rule", &place(rule)),
        None => page.row("rule", "none fits; `nixie explain --search` may know more"),
    }
    if let Some(text) = said.text {
        page.row("by its text", text);
    }
    if let (Some(guard), Some(_)) = (said.guard, said.rule) {
        page.row("overruled", &format!("{guard} ({})", said.verdict.rule));
    }
    near_misses(page, said);
}

fn known(by: KnownBy) -> &'static str {
    match by {
        KnownBy::Name => "as given",
        KnownBy::Host => "by the host",
        KnownBy::Words => "by its words",
    }
}

fn numbers(page: &mut Page, code: Option<ReplyCode>, status: Option<EnhancedStatus>) {
    if let Some(code) = code {
        page.row("code", &code_in_words(code));
    }
    if let Some(status) = status {
        page.row("status", &status_in_words(status));
    }
}

fn code_in_words(code: ReplyCode) -> String {
    let severity = code.severity();
    match code.defined() {
        Some(defined) => format!("{code}  {} ({}; {severity})", defined.meaning, defined.source),
        None => format!("{code}  defined by no standard ({severity})"),
    }
}

fn status_in_words(status: EnhancedStatus) -> String {
    let class = status.class().meaning();
    match status.enumerated() {
        Some(known) => format!(
            "{status}  {}: {} ({}; {class})",
            known.name, known.meaning, known.source
        ),
        None => {
            let subject = registry::subject(status.subject()).unwrap_or("a subject that no standard knows");
            format!("{status}  not registered, a provider's own: {subject} ({class})")
        }
    }
}

fn verdict(page: &mut Page, said: &Explanation<'_>, bench: &Bench) {
    let verdict = &said.verdict;
    let sub_cause = verdict.sub_cause.as_deref();
    let mut cause = format!("{}: {}", verdict.cause, words::cause(verdict.cause));
    if let Some(name) = sub_cause {
        let meaning = words::sub_cause(verdict.cause, name).unwrap_or_default();
        cause = format!(
            "{} ({name}): {} {meaning}",
            verdict.cause,
            words::cause(verdict.cause)
        );
    }
    page.row("cause", &cause);
    page.row("fault", words::fault(verdict.scope));
    page.row("permanent", permanence(verdict.permanent));
    let lane = explain::lane(said, &bench.providers, &bench.egress);
    page.row("Nixie", &words::action(verdict, &bench.policy, &lane));
    let general = || words::advice(verdict.cause, sub_cause);
    page.row("you", verdict.advice.as_deref().unwrap_or_else(general));
    let followed = said.rule.filter(|rule| rule.id == verdict.rule);
    if let Some(link) = followed.and_then(|rule| rule.link.as_deref()) {
        page.row("see", link);
    }
}

fn permanence(permanent: bool) -> &'static str {
    if permanent {
        "yes: trying again is useless"
    } else {
        "no: a later attempt may succeed"
    }
}

fn near_misses(page: &mut Page, said: &Explanation<'_>) {
    if said.near.is_empty() {
        return;
    }
    page.heading("Near misses");
    for near in &said.near {
        page.item(&format!("{}: {}", near.rule.id, near.rule.cause), &near.why);
    }
}

fn number(
    page: &mut Page,
    code: Option<ReplyCode>,
    status: Option<EnhancedStatus>,
    named: Option<&str>,
    bench: &Bench,
) {
    let bare = Reply {
        code,
        status,
        text: String::new(),
    };
    page.title(&bare.to_string());
    numbers(page, code, status);
    let heard = Heard::anywhere(&bare.to_string());
    let alone = explain::explain(&bench.rules, &bench.providers, heard, named);
    page.heading("Where the text says nothing more");
    verdict(page, &alone, bench);
    page.row("rule", &alone.rule.map_or_else(|| "none".to_owned(), place));
    let Named {
        by_condition,
        by_example,
    } = lookup::naming(&bench.rules, code, status);
    listed(page, "Rules that name it", &by_condition);
    listed(page, "Rules with an example of it", &by_example);
}

fn one_rule(page: &mut Page, rule: &Rule, providers: &Providers) {
    page.title(&rule.id);
    page.row("stands in", &format!("{}:{}", rule.file, rule.line));
    let names: Vec<&str> = rule
        .providers
        .iter()
        .filter_map(|id| providers.get(id).map(|provider| provider.name.as_str()))
        .collect();
    if !names.is_empty() {
        page.row("for", &names.join(", "));
    }
    let conditions = rule.conditions();
    if !conditions.is_empty() {
        page.row("if", &conditions);
    }
    for text in &rule.texts {
        page.row("text", text);
    }
    page.row("cause", &format!("{}: {}", rule.cause, words::cause(rule.cause)));
    if let Some(sub_cause) = &rule.sub_cause {
        let meaning = words::sub_cause(rule.cause, sub_cause).unwrap_or_default();
        page.row("kind", &format!("{sub_cause}: {meaning}"));
    }
    page.row("fault", words::fault(rule.cause.scope()));
    if let Some(permanent) = rule.permanent {
        page.row("permanent", permanence(permanent));
    }
    if let Some(remedy) = rule.remedy {
        page.row("remedy", remedy.name());
    }
    if let Some(hold) = rule.hold {
        page.row("hold", &words::span(hold));
    }
    let sub_cause = rule.sub_cause.as_deref();
    let general = || words::advice(rule.cause, sub_cause);
    page.row("you", rule.advice.as_deref().unwrap_or_else(general));
    if let Some(link) = &rule.link {
        page.row("see", link);
    }
    if !rule.examples.is_empty() {
        page.heading("Examples");
        for example in &rule.examples {
            page.item(example, "");
        }
    }
}

fn one_cause(page: &mut Page, cause: Cause, rules: &RuleSet) {
    page.title(cause.name());
    page.row("meaning", words::cause(cause));
    page.row("fault", words::fault(cause.scope()));
    let (permanent, temporary) = explain::remedies(cause);
    let both = match permanent == temporary {
        true => permanent.to_string(),
        false => format!("{permanent} if permanent, {temporary} if not"),
    };
    page.row("remedy", &both);
    if matches!(permanent, Remedy::None) && matches!(temporary, Remedy::None) {
        page.row("Nixie", "Nothing. Suppresses nobody.");
    }
    page.row("you", words::advice(cause, None));
    listed(page, "Rules", &lookup::of_cause(rules, cause).collect::<Vec<_>>());
}

fn one_provider(page: &mut Page, provider: &Provider, rules: &RuleSet) {
    page.title(&format!("{} ({})", provider.name, provider.id));
    let limits = &provider.limits;
    let documented = [
        (limits.connections, "connections at a time"),
        (limits.messages_per_connection, "messages in a connection"),
        (limits.messages_per_second, "messages in a second"),
    ];
    let mut told: Vec<String> = documented
        .iter()
        .filter_map(|(limit, of)| limit.map(|limit| format!("{limit} {of}")))
        .collect();
    if limits.tls {
        told.push("TLS only".to_owned());
    }
    let documents = match told.is_empty() {
        true => "nothing about how it wants to be mailed".to_owned(),
        false => told.join("; "),
    };
    page.row("documents", &documents);
    listed(
        page,
        "Rules",
        &lookup::of_provider(rules, &provider.id).collect::<Vec<_>>(),
    );
}

fn listed(page: &mut Page, title: &str, rules: &[&Rule]) {
    if rules.is_empty() {
        return;
    }
    page.heading(&format!("{title} ({})", rules.len()));
    for rule in rules.iter().take(SHOWN) {
        page.item(&format!("{}: {}", rule.id, rule.cause), &conditions(rule));
    }
    more(page, rules.len());
}

fn more(page: &mut Page, all: usize) {
    if all > SHOWN {
        page.item(&format!("and {} more: --json lists all", all - SHOWN), "");
    }
}

/// What a rule asks for, short.
fn conditions(rule: &Rule) -> String {
    match (rule.conditions(), rule.texts.first()) {
        (conditions, None) => conditions,
        (conditions, Some(text)) if conditions.is_empty() => format!("text {text}"),
        (conditions, Some(text)) => format!("{conditions}; text {text}"),
    }
}

fn place(rule: &Rule) -> String {
    format!("{} ({}:{})", rule.id, rule.file, rule.line)
}

/// Prints what a search found; found nothing is an exit code of its own.
fn found(query: &str, hits: &[Hit<'_>], as_json: bool) -> ExitCode {
    if as_json {
        say!("{}", json::hits(query, hits));
    } else {
        let mut page = Page::default();
        for hit in hits.iter().take(SHOWN) {
            let (what, about) = hit_in_words(&hit.found);
            page.item(&what, &about);
        }
        more(&mut page, hits.len());
        if !hits.is_empty() {
            say!("{}", page.text());
        }
    }
    if hits.is_empty() {
        eprintln!("nothing is found for {:?}", plain(query));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn hit_in_words(found: &Found<'_>) -> (String, String) {
    match found {
        Found::Rule(rule) => (
            format!("rule {}: {}", rule.id, rule.cause),
            rule.examples.first().cloned().unwrap_or_else(|| conditions(rule)),
        ),
        Found::Cause(cause) => (format!("cause {cause}"), words::cause(*cause).to_owned()),
        Found::SubCause(name, meaning) => (format!("kind {name}"), (*meaning).to_owned()),
        Found::Provider(provider) => (format!("provider {}", provider.id), provider.name.clone()),
        Found::Status(status) => (
            format!("status x.{}.{}", status.subject, status.detail),
            format!("{}: {} ({})", status.name, status.meaning, status.source),
        ),
        Found::Code(code) => (
            format!("code {}", code.code),
            format!("{} ({})", code.meaning, code.source),
        ),
    }
}
