//! Reading the formats of mail systems: what each `tests/data/formats/NAME.eml` says stands beside it in
//! `NAME.txt`, one recipient a paragraph. `GOLDEN=write cargo test --test formats` rewrites the answers;
//! read the difference before you commit it. A file named `FORMAT.eml` or `FORMAT-WHAT.eml` is to be read in
//! that very format (`rfc3464` where the delivery status within decides).

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use jiff::Timestamp;
use nixie::mail::dsn::Recipient;
use nixie::mail::event::Source;
use nixie::mail::message::{Envelope, Kind, Reading, events, read};
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats")
}

/// All samples, in the order of their names.
fn samples() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let mut samples: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    samples.retain(|path| path.extension().is_some_and(|e| e == "eml"));
    samples.sort();
    samples
}

fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// What a message says, in lines that people can check.
fn described(reading: &Reading) -> String {
    let mut out = format!("kind {:?}\n", reading.kind);
    let report = reading.report.as_ref();
    let returned = reading.returned.as_ref();
    writeln!(out, "format {}", or_none(reading.format)).unwrap();
    writeln!(
        out,
        "reporter {}",
        or_none(report.and_then(|r| r.reporting_mta.as_ref()))
    )
    .unwrap();
    writeln!(
        out,
        "returned {}",
        or_none(returned.and_then(|r| r.message_id.as_ref()))
    )
    .unwrap();
    for refused in &reading.refused {
        writeln!(out, "refused {refused}").unwrap();
    }
    for recipient in report.iter().flat_map(|report| &report.recipients) {
        out.push_str(&of_recipient(recipient));
    }
    // What reaches the judge: codes are read out of the words by then.
    let at = Timestamp::UNIX_EPOCH;
    for event in events(reading, Envelope::default(), Source::Lmtp, at) {
        let (code, status) = (or_none(event.reply.code), or_none(event.reply.status));
        let command = or_none(event.command);
        let (outcome, recipient) = (event.outcome, event.recipient);
        writeln!(
            out,
            "\nevent {outcome:?} <{recipient}> {code} {status} [{command}]"
        )
        .unwrap();
    }
    out
}

fn of_recipient(recipient: &Recipient) -> String {
    let action = recipient.action.map(|action| format!("{action:?}"));
    let said = recipient.diagnostic.as_ref().map(|d| &d.text);
    let doubt = if recipient.doubtful { "  doubtful\n" } else { "" };
    format!(
        "\nrecipient {}\n{doubt}  original {}\n  action {}\n  status {}\n  command {}\n  remote {}\n  said {}\n",
        or_none(recipient.final_recipient.as_ref()),
        or_none(recipient.original_recipient.as_ref()),
        or_none(action),
        or_none(recipient.status),
        or_none(recipient.command.as_ref()),
        or_none(recipient.remote_mta.as_ref()),
        or_none(said),
    )
}

#[test]
fn every_sample_says_what_stands_beside_it() {
    let write = std::env::var("GOLDEN").is_ok_and(|v| v == "write");
    let mut wrong = String::new();
    for path in samples() {
        let answer = path.with_extension("txt");
        let found = described(&read(&std::fs::read(&path).unwrap()));
        if write {
            std::fs::write(&answer, found).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&answer).unwrap_or_default();
        if found != expected {
            writeln!(
                wrong,
                "{}:\n--- expected\n{expected}\n--- found\n{found}",
                path.display()
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_sample_is_read_in_the_format_of_its_name() {
    for path in samples() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let format = read(&std::fs::read(&path).unwrap()).format.unwrap_or("none");
        let named = name.strip_prefix(format);
        assert!(
            named.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')),
            "{name} was read as {format}"
        );
    }
}

/// Line ends are the transport's: whatever they are, a sample says the same.
#[test]
fn line_ends_change_nothing() {
    for path in samples() {
        let raw = std::fs::read(&path).unwrap();
        let lf: Vec<u8> = raw.iter().copied().filter(|&b| b != b'\r').collect();
        let mut crlf = Vec::with_capacity(lf.len() * 2);
        for &octet in &lf {
            if octet == b'\n' {
                crlf.push(b'\r');
            }
            crlf.push(octet);
        }
        assert_eq!(
            described(&read(&lf)),
            described(&read(&crlf)),
            "{}",
            path.display()
        );
    }
}

/// A message may end anywhere, and any octet may be another: it is still read as something.
#[test]
fn every_cut_is_read() {
    for path in samples() {
        let mut raw = std::fs::read(&path).unwrap();
        for end in (0..raw.len()).step_by(23) {
            let reading = read(&raw[..end]);
            assert!(reading.report.is_none_or(|report| report.recipients.len() < 99));
        }
        for at in (0..raw.len()).step_by(17) {
            raw[at] = raw[at].wrapping_mul(31).wrapping_add(0x80);
        }
        let _ = read(&raw);
    }
}

/// Who quotes a notice to somebody reports nothing.
#[test]
fn talk_about_a_notice_is_none() {
    let notices = ["exim.eml", "qmail.eml", "sendmail.eml", "postfix.eml"];
    for name in notices {
        let raw = std::fs::read_to_string(folder().join(name)).unwrap();
        let (_, body) = raw.split_once("\n\n").unwrap();
        let human = "From: Ann <ann@people.test>\nTo: help@sender.test\n";
        let fresh =
            format!("{human}Subject: Undelivered Mail Returned to Sender\n\nHelp, what is this?\n\n{body}");
        let quoted = body.replace('\n', "\n> ");
        let answer = format!("{human}Subject: Re: failure notice\nIn-Reply-To: <1@x.test>\n\n> {quoted}");
        let forward = format!("{human}Subject: Fwd: failure notice\n\n{body}");
        for mail in [fresh, answer, forward] {
            let reading = read(mail.as_bytes());
            assert_eq!((reading.kind, reading.report), (Kind::None, None), "{mail}");
        }
    }
}
