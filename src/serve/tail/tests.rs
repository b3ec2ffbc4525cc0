//! Each way of rotating, on real files. The follower is driven step by step; one test goes through the
//! thread.

use super::follow::Follower;
use super::*;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

struct Log {
    directory: tempfile::TempDir,
    path: PathBuf,
}

impl Log {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mail.log");
        Self { directory, path }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, text: &str) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, to: &str) {
        fs::rename(&self.path, self.file(to)).unwrap();
    }

    fn copytruncate(&self, to: &str) {
        fs::copy(&self.path, self.file(to)).unwrap();
        OpenOptions::new()
            .write(true)
            .open(&self.path)
            .unwrap()
            .set_len(0)
            .unwrap();
    }

    fn age(&self, name: &str, seconds: u64) {
        let file = File::options().append(true).open(self.file(name)).unwrap();
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
        file.set_modified(then).unwrap();
    }

    fn follow(&self, start: Start) -> Follower {
        Follower::new(&self.path, None, start)
    }

    fn resume(&self, position: &str) -> Follower {
        Follower::new(
            &self.path,
            Some(serde_json::from_str(position).unwrap()),
            Start::End,
        )
    }
}

/// All that is there now, and the last position.
fn drain(follower: &mut Follower) -> (Vec<String>, Option<String>) {
    let (mut lines, mut position) = (Vec::new(), None);
    while let Some(chunk) = follower.poll().unwrap() {
        assert!(!chunk.lines.is_empty() && chunk.lines.len() <= MAX_LINES);
        lines.extend(
            chunk
                .lines
                .into_iter()
                .map(|line| String::from_utf8(line).unwrap()),
        );
        position = chunk.position;
    }
    (lines, position)
}

fn lines(follower: &mut Follower) -> Vec<String> {
    drain(follower).0
}

const NONE: [&str; 0] = [];

#[test]
fn a_log_that_appears_is_read_from_its_start() {
    let log = Log::new();
    let mut follower = log.follow(Start::End);
    assert_eq!(lines(&mut follower), NONE);
    log.write("one\ntwo\n");
    assert_eq!(lines(&mut follower), ["one", "two"]);
}

#[test]
fn a_log_begins_where_asked() {
    let log = Log::new();
    log.write("one\ntw");
    let (mut end, mut beginning) = (log.follow(Start::End), log.follow(Start::Beginning));
    assert_eq!(lines(&mut end), NONE);
    assert_eq!(lines(&mut beginning), ["one"]);
    log.write("o\nthree\n");
    assert_eq!(lines(&mut end), ["two", "three"]);
    assert_eq!(lines(&mut beginning), ["two", "three"]);
}

#[test]
fn a_renamed_log_is_read_to_its_end_first() {
    let log = Log::new();
    log.write("one\n");
    let mut follower = log.follow(Start::Beginning);
    assert_eq!(lines(&mut follower), ["one"]);
    let mut writer = OpenOptions::new().append(true).open(&log.path).unwrap();
    log.rename("mail.log.1");
    assert_eq!(lines(&mut follower), NONE);
    writer.write_all(b"two\n").unwrap();
    assert_eq!(lines(&mut follower), ["two"]);
    // logrotate's `create`: the new file is there, the writer has not reopened yet.
    File::create(&log.path).unwrap();
    writer.write_all(b"three\nfo").unwrap();
    assert_eq!(lines(&mut follower), ["three"]);
    log.write("five\n");
    assert_eq!(lines(&mut follower), ["fo", "five"]);
    log.write("six\n");
    assert_eq!(lines(&mut follower), ["six"]);
}

#[test]
fn two_rotations_at_once_lose_nothing() {
    let log = Log::new();
    log.write("one\n");
    let mut follower = log.follow(Start::Beginning);
    assert_eq!(lines(&mut follower), ["one"]);
    log.write("two\n");
    log.rename("mail.log.2");
    log.write("three\n");
    log.rename("mail.log.1");
    log.write("four\n");
    fs::write(log.file("mail.log.3"), "old\n").unwrap();
    fs::write(log.file("mail.log.1.gz"), "packed\n").unwrap();
    fs::write(log.file("mail.log.err"), "other\n").unwrap();
    for (name, seconds) in [
        ("mail.log.3", 1),
        ("mail.log.2", 2),
        ("mail.log.1", 3),
        ("mail.log", 4),
    ] {
        log.age(name, seconds);
    }
    assert_eq!(lines(&mut follower), ["two", "three", "four"]);
}

#[test]
fn a_truncated_log_is_finished_in_its_copy() {
    for grown in [
        "four\n",
        "four which is longer than all that was there before it\n",
    ] {
        let log = Log::new();
        log.write("one\ntwo\n");
        let mut follower = log.follow(Start::Beginning);
        assert_eq!(lines(&mut follower), ["one", "two"]);
        log.write("three\n");
        log.copytruncate("mail.log.1");
        log.write(grown);
        assert_eq!(lines(&mut follower), ["three", grown.trim_end()]);
        log.write("five\n");
        assert_eq!(lines(&mut follower), ["five"]);
    }
}

#[test]
fn a_truncated_log_without_copy_goes_on_from_its_start() {
    let log = Log::new();
    log.write("one\ntwo\n");
    let mut follower = log.follow(Start::Beginning);
    assert_eq!(lines(&mut follower), ["one", "two"]);
    OpenOptions::new()
        .write(true)
        .open(&log.path)
        .unwrap()
        .set_len(0)
        .unwrap();
    assert_eq!(lines(&mut follower), NONE);
    log.write("three\n");
    assert_eq!(lines(&mut follower), ["three"]);
}

#[test]
fn a_restart_goes_on_at_the_position() {
    let log = Log::new();
    log.write("one\n");
    let (_, position) = drain(&mut log.follow(Start::Beginning));
    log.write("two\n");
    assert_eq!(lines(&mut log.resume(&position.unwrap())), ["two"]);
}

#[test]
fn a_restart_finds_the_rotated_log_again() {
    for name in [
        "mail.log.1",
        "mail.log-20261121",
        "mail-20261121.log",
        "mail.log.old",
    ] {
        let log = Log::new();
        log.write("one\n");
        let position = drain(&mut log.follow(Start::Beginning)).1.unwrap();
        log.write("two\n");
        log.rename(name);
        let mut follower = log.resume(&position);
        assert_eq!(lines(&mut follower), ["two"], "{name}");
        log.write("three\n");
        assert_eq!(lines(&mut follower), ["three"], "{name}");
        assert_eq!(lines(&mut log.resume(&position)), ["two", "three"], "{name}");
    }
}

#[test]
fn a_restart_finds_the_copy_of_a_truncated_log() {
    let log = Log::new();
    log.write("one\n");
    let position = drain(&mut log.follow(Start::Beginning)).1.unwrap();
    log.write("two\n");
    log.copytruncate("mail.log.1");
    log.write("three\nfour\nfive\n");
    assert_eq!(
        lines(&mut log.resume(&position)),
        ["two", "three", "four", "five"]
    );
}

#[test]
fn a_restart_after_the_log_is_gone_reads_what_is_left() {
    let log = Log::new();
    log.write("one\n");
    let position = drain(&mut log.follow(Start::Beginning)).1.unwrap();
    fs::remove_file(&log.path).unwrap();
    log.write("two\n");
    assert_eq!(lines(&mut log.resume(&position)), ["two"]);
}

#[test]
fn every_position_of_every_chunk_resumes_without_loss_or_repeat() {
    let log = Log::new();
    let all: Vec<String> = (0..MAX_LINES * 3 + 7).map(|n| format!("line {n}")).collect();
    log.write(&(all.join("\n") + "\n"));
    let mut follower = log.follow(Start::Beginning);
    let mut seen = 0;
    while let Some(chunk) = follower.poll().unwrap() {
        seen += chunk.lines.len();
        assert_eq!(lines(&mut log.resume(&chunk.position.unwrap())), all[seen..]);
    }
    assert_eq!(seen, all.len());
}

#[test]
fn a_crash_before_the_first_line_loses_nothing() {
    let log = Log::new();
    let mut follower = log.follow(Start::End);
    assert!(follower.context().unwrap().is_empty());
    let absent = follower.here().unwrap().position.unwrap();
    log.write("one\n");
    assert_eq!(lines(&mut log.resume(&absent)), ["one"]);
    let mut follower = log.follow(Start::End);
    follower.context().unwrap();
    let end = follower.here().unwrap().position.unwrap();
    log.write("two\n");
    assert_eq!(lines(&mut log.resume(&end)), ["two"]);
}

#[test]
fn the_copy_is_told_from_other_logs_with_the_same_lines() {
    let log = Log::new();
    log.write("one\n");
    let mut follower = log.follow(Start::Beginning);
    let position = drain(&mut follower).1.unwrap();
    log.write("two\n");
    log.copytruncate("mail.log.1");
    fs::write(log.file("mail.info"), "one\nfrom another log\n").unwrap();
    log.write("three\n");
    assert_eq!(lines(&mut follower), ["two", "three"]);
    assert_eq!(lines(&mut log.resume(&position)), ["two", "three"]);
}

#[test]
fn context_is_what_lies_before() {
    let log = Log::new();
    log.write("zero\n");
    log.rename("mail.log.1");
    log.age("mail.log.1", 1);
    log.write("one\ntwo\n");
    let position = drain(&mut log.follow(Start::Beginning)).1.unwrap();
    log.write("three\n");
    let mut follower = log.resume(&position);
    let context = follower.context().unwrap();
    assert!(
        context
            .iter()
            .all(|chunk| chunk.context && chunk.position.is_none())
    );
    let context: Vec<_> = context.into_iter().flat_map(|chunk| chunk.lines).collect();
    assert_eq!(context, [&b"zero"[..], b"one", b"two"]);
    assert_eq!(lines(&mut follower), ["three"]);
}

#[test]
fn context_is_bounded() {
    let log = Log::new();
    log.write(&"x".repeat(99).add_line().repeat(60_000));
    let mut follower = log.follow(Start::End);
    let lines: Vec<_> = follower
        .context()
        .unwrap()
        .into_iter()
        .flat_map(|chunk| chunk.lines)
        .collect();
    assert!(lines.iter().all(|line| line.len() == 99));
    let size = lines.len() as u64 * 100;
    assert!((CONTEXT - 200..=CONTEXT).contains(&size), "{size}");
}

trait AddLine {
    fn add_line(self) -> String;
}

impl AddLine for String {
    fn add_line(self) -> String {
        self + "\n"
    }
}

#[test]
fn overlong_lines_are_cut() {
    let log = Log::new();
    log.write(&("x".repeat(3 * MAX_LINE) + "\ntwo\n"));
    let read = lines(&mut log.follow(Start::Beginning));
    assert_eq!((read[0].len(), read[1].as_str()), (MAX_LINE, "two"));
}

#[tokio::test]
async fn the_tail_hands_over_lines_as_they_come() {
    let log = Log::new();
    log.write("zero\n");
    let mut tail = Tail::open(&log.path, None, Start::End).unwrap();
    let context = tail.next().await.unwrap().unwrap();
    assert!(context.context);
    let mut position = tail.next().await.unwrap().unwrap().position;
    assert!(position.is_some());
    for text in ["one", "two", "three"] {
        log.write(&format!("{text}\n"));
        let chunk = tokio::time::timeout(Duration::from_secs(20), tail.next())
            .await
            .unwrap();
        let chunk = chunk.unwrap().unwrap();
        assert_eq!(chunk.lines, [text.as_bytes()]);
        position = chunk.position;
        log.rename(&format!("mail.log-{text}"));
    }
    drop(tail);
    log.write("four\n");
    let mut tail = Tail::open(&log.path, position.as_deref(), Start::End).unwrap();
    loop {
        let chunk = tail.next().await.unwrap().unwrap();
        if !chunk.context && !chunk.lines.is_empty() {
            assert_eq!(chunk.lines, [b"four"]);
            break;
        }
    }
}

#[tokio::test]
async fn a_bad_position_is_an_error() {
    let log = Log::new();
    let error = Tail::open(&log.path, Some("{}"), Start::End).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}
