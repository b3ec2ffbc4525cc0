//! `nixie explain --json`: the same as in the text, as one object. The field names are an interface; absent
//! values are null.

use crate::engine::explain::lookup::{self, Named, Subject};
use crate::engine::explain::search::{Found, Hit};
use crate::engine::explain::{self, Explanation, KnownBy, words};
use crate::engine::heard::Heard;
use crate::engine::rule::Rule;
use crate::engine::verdict::Cause;
use crate::mail::reply::{Reply, ReplyCode};
use crate::mail::status::{EnhancedStatus, registry};
use crate::serve::keeper::Bench;
use serde_json::{Value, json};

pub(super) fn subject(subject: &Subject<'_>, text: &str, named: Option<&str>, bench: &Bench) -> Value {
    let rules = &bench.rules;
    let explained = |text: &str| {
        let heard = Heard::anywhere(text);
        explanation(&explain::explain(rules, &bench.providers, heard, named), bench)
    };
    match *subject {
        Subject::Reply => with("reply", explained(text)),
        Subject::Number(code, status) => {
            let Named {
                by_condition,
                by_example,
            } = lookup::naming(rules, code, status);
            let bare = Reply {
                code,
                status,
                text: String::new(),
            };
            with(
                "number",
                json!({
                    "code": code.map(code_entry),
                    "status": status.map(status_entry),
                    "alone": explained(&bare.to_string()),
                    "rules": { "naming": ids(&by_condition), "with_example": ids(&by_example) },
                }),
            )
        }
        Subject::Rule(one) => with("rule", rule(one)),
        Subject::Cause(one) => with("cause", {
            let mut value = cause(one);
            value["rules"] = ids(&lookup::of_cause(rules, one).collect::<Vec<_>>());
            value
        }),
        Subject::SubCause(of, name) => with(
            "sub_cause",
            json!({
                "sub_cause": name,
                "cause": of.name(),
                "meaning": words::sub_cause(of, name),
                "advice": words::advice(of, Some(name)),
                "rules": ids(&lookup::of_sub_cause(rules, name).collect::<Vec<_>>()),
            }),
        ),
        Subject::Provider(provider) => with(
            "provider",
            json!({
                "id": provider.id,
                "name": provider.name,
                "connections": provider.limits.connections,
                "messages_per_connection": provider.limits.messages_per_connection,
                "messages_per_second": provider.limits.messages_per_second,
                "tls": provider.limits.tls,
                "rules": ids(&lookup::of_provider(rules, &provider.id).collect::<Vec<_>>()),
            }),
        ),
    }
}

pub(super) fn hits(query: &str, hits: &[Hit<'_>]) -> Value {
    let hits: Vec<Value> = hits
        .iter()
        .map(|hit| with_score(found(&hit.found), hit.score))
        .collect();
    json!({ "kind": "search", "query": query, "hits": hits })
}

fn with(kind: &str, mut value: Value) -> Value {
    value["kind"] = kind.into();
    value
}

fn with_score(mut value: Value, score: u32) -> Value {
    value["score"] = score.into();
    value
}

fn explanation(said: &Explanation<'_>, bench: &Bench) -> Value {
    let verdict = &said.verdict;
    let sub_cause = verdict.sub_cause.as_deref();
    let provider = said.provider.map(|(provider, by)| {
        let by = match by {
            KnownBy::Name => "name",
            KnownBy::Host => "host",
            KnownBy::Words => "words",
        };
        json!({ "id": provider.id, "name": provider.name, "known_by": by })
    });
    let near: Vec<Value> = said
        .near
        .iter()
        .map(|near| {
            json!({
                "rule": near.rule.id, "file": near.rule.file, "line": near.rule.line, "cause": near.rule.cause.name(),
                "why": near.why,
            })
        })
        .collect();
    let lane = explain::lane(said, &bench.providers, &bench.egress);
    let followed = said.rule.filter(|rule| rule.id == verdict.rule);
    json!({
        "reply": said.heard.reply.to_string(),
        "in_reply_to": explain::circumstance(said.heard.phase),
        "host": said.heard.host,
        "code": said.heard.reply.code.map(code_entry),
        "status": said.status.map(status_entry),
        "provider": provider,
        "cause": verdict.cause.name(),
        "cause_meaning": words::cause(verdict.cause),
        "sub_cause": sub_cause,
        "sub_cause_meaning": sub_cause.and_then(|name| words::sub_cause(verdict.cause, name)),
        "scope": verdict.scope.name(),
        "fault": words::fault(verdict.scope),
        "permanent": verdict.permanent,
        "remedy": verdict.remedy.name(),
        "hold_seconds": verdict.hold.map(|hold| hold.as_secs()),
        "lane": lane,
        "nixie": words::action(verdict, &bench.policy, &lane),
        "advice": verdict.advice.as_deref().unwrap_or_else(|| words::advice(verdict.cause, sub_cause)),
        "link": followed.and_then(|rule| rule.link.as_deref()),
        "rule": Some(&*verdict.rule).filter(|&rule| rule != "none"),
        "file": followed.map(|rule| &*rule.file),
        "line": followed.map(|rule| rule.line),
        "text": followed.and(said.text),
        "overruled": said.rule.filter(|_| said.guard.is_some()).map(|rule| json!({ "rule": rule.id, "why": said.guard })),
        "near_misses": near,
    })
}

fn code_entry(code: ReplyCode) -> Value {
    let defined = code.defined();
    json!({
        "code": code.get(),
        "meaning": defined.map(|d| d.meaning),
        "severity": code.severity(),
        "source": defined.map(|d| d.source),
    })
}

fn status_entry(status: EnhancedStatus) -> Value {
    let known = status.enumerated();
    json!({
        "status": status.to_string(),
        "name": known.map(|k| k.name),
        "meaning": known.map(|k| k.meaning),
        "class": status.class().meaning(),
        "subject": registry::subject(status.subject()),
        "source": known.map(|k| k.source),
    })
}

fn rule(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "file": rule.file,
        "line": rule.line,
        "providers": rule.providers,
        "codes": rule.codes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "statuses": rule.statuses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "texts": rule.texts,
        "cause": rule.cause.name(),
        "sub_cause": rule.sub_cause,
        "scope": rule.cause.scope().name(),
        "permanent": rule.permanent,
        "remedy": rule.remedy.map(|remedy| remedy.name()),
        "hold_seconds": rule.hold.map(|hold| hold.as_secs()),
        "advice": rule.advice,
        "link": rule.link,
        "examples": rule.examples,
    })
}

fn cause(cause: Cause) -> Value {
    let (permanent, temporary) = explain::remedies(cause);
    json!({
        "cause": cause.name(),
        "meaning": words::cause(cause),
        "scope": cause.scope().name(),
        "fault": words::fault(cause.scope()),
        "remedy_if_permanent": permanent.name(),
        "remedy_if_temporary": temporary.name(),
        "advice": words::advice(cause, None),
    })
}

fn found(found: &Found<'_>) -> Value {
    match *found {
        Found::Rule(one) => with("rule", rule(one)),
        Found::Cause(one) => with("cause", cause(one)),
        Found::SubCause(name, meaning) => with("sub_cause", json!({ "sub_cause": name, "meaning": meaning })),
        Found::Provider(provider) => with("provider", json!({ "id": provider.id, "name": provider.name })),
        Found::Status(status) => with(
            "status",
            json!({
                "status": format!("x.{}.{}", status.subject, status.detail),
                "name": status.name, "meaning": status.meaning, "source": status.source,
            }),
        ),
        Found::Code(code) => with(
            "code",
            json!({ "code": code.code, "meaning": code.meaning, "source": code.source }),
        ),
    }
}

fn ids(rules: &[&Rule]) -> Value {
    rules.iter().map(|rule| rule.id.to_string()).collect()
}
