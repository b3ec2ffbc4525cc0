//! Whole files, as services export them: `tests/data/import/*`, each with what is read from it beside it. The
//! addresses in them are invented. `GOLDEN=write cargo test` writes the answers anew: read the diff.

use super::*;
use std::fmt::Write as _;

fn options(cause: Option<Cause>, audience: Audience) -> Options {
    let providers = crate::engine::provider::Providers::shipped().unwrap();
    Options {
        cause,
        format: None,
        named: Vec::new(),
        audience,
        streams: vec!["non_transactional".into()],
        rejected: None,
        veil: Veil::default(),
        rules: RuleSet::shipped(&providers).unwrap(),
        local_part: LocalPart::Fold,
        now: "2026-11-21T12:00:00Z".parse().unwrap(),
    }
}

/// What is read from a file, a line for each record.
fn read(options: &Options, name: &str, input: Box<dyn Read + Send>) -> String {
    let mut records = Records::open(input).unwrap();
    let mut record = Record::default();
    let mut plan: Option<Plan<'_>> = None;
    let mut out = String::new();
    loop {
        let next = records.next(&mut record).unwrap();
        if plan.is_none() && matches!(next, Next::Record) {
            let (told, header) = match options.plan(&record, records.is_json(), name) {
                Ok(told) => told,
                Err(error) => return format!("{error}\n"),
            };
            writeln!(out, "{}", told.format).unwrap();
            plan = Some(told);
            if header {
                continue;
            }
        }
        let outcome = match next {
            Next::End => return out,
            Next::Bad(problem) => Outcome::Reject(problem),
            Next::Record => plan.as_ref().unwrap().read(&record),
        };
        let line = record.line;
        match outcome {
            Outcome::Entry(entry) => {
                let expires = entry.expires.map_or(String::new(), |at| format!(" until {at}"));
                let (subject, cause, since) = (entry.subject, entry.cause, entry.since);
                writeln!(
                    out,
                    "{line} {subject} {cause} {since}{expires} | {}",
                    entry.reason
                )
                .unwrap();
            }
            Outcome::Skip(why) => writeln!(out, "{line} skipped: {why}").unwrap(),
            Outcome::Reject(problem) => writeln!(out, "{line} rejected: {problem}").unwrap(),
            Outcome::Nothing => {}
        }
    }
}

#[test]
fn exports_are_read_as_they_are_meant() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension != "read"))
        .collect();
    files.sort();
    assert!(files.len() >= 15, "{files:?}");
    let options = options(None, Audience::Unsaid);
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let found = read(&options, &name, Box::new(std::fs::File::open(&file).unwrap()));
        let mut golden = file.clone().into_os_string();
        golden.push(".read");
        if std::env::var_os("GOLDEN").is_some() {
            std::fs::write(&golden, &found).unwrap();
        }
        assert_eq!(found, std::fs::read_to_string(&golden).unwrap(), "{name}");
    }
}

#[test]
fn what_the_operator_says_of_a_list_counts() {
    let spam = "email,type\na@x.test,non_transactional\n";
    let told = options(Some(Cause::Complaint), Audience::Stream("news".into()));
    let found = read(&told, "x", Box::new("a@x.test\n\"b\"@X.test\n".as_bytes()));
    assert_eq!(
        found,
        "plain\n1 a@x.test news complaint 2026-11-21T12:00:00Z | imported\n2 b@x.test news complaint 2026-11-21T12:00:00Z | imported\n"
    );
    // A dead mailbox is dead for every stream.
    let dead = options(Some(Cause::UserUnknown), Audience::Stream("news".into()));
    let found = read(&dead, "x", Box::new("a@x.test".as_bytes()));
    assert!(
        found.ends_with("1 a@x.test user_unknown 2026-11-21T12:00:00Z | imported\n"),
        "{found}"
    );
    let mut named = options(Some(Cause::Unsubscribed), Audience::All);
    named.named = vec!["part=type".parse().unwrap()];
    let found = read(&named, "x", Box::new(spam.as_bytes()));
    assert!(found.contains("2 a@x.test unsubscribed"), "{found}");
}
