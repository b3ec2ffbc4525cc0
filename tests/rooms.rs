//! Keeps each room's rule (ARCHITECTURE.md, Rooms): imports point downward only, SQL stays in the
//! store, sockets and `.await` above the engine, printing in the command line, time in the clock.

#![expect(clippy::unwrap_used, reason = "a failing test is a panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the bottom up. A room may import from rooms before it, and itself.
const FLOORS: [&str; 6] = ["mail", "postfix", "engine", "store", "serve", "cli"];
/// Beside the floors: every room may import these.
const BESIDE: [&str; 2] = ["config", "clock"];

struct Source {
    path: PathBuf,
    room: String,
    /// The text up to its tests, comments left out.
    code: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inner = path.strip_prefix(&root).unwrap();
                let room = inner
                    .iter()
                    .next()
                    .unwrap()
                    .to_string_lossy()
                    .trim_end_matches(".rs")
                    .to_owned();
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap();
                let code = code
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"))
                    .collect::<Vec<_>>()
                    .join("\n");
                found.push(Source {
                    path,
                    room,
                    code,
                    text,
                });
            }
        }
    }
    assert!(found.len() > 20, "the sources are not where they should be");
    found
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|name| *name == room)
}

#[test]
fn imports_point_downward() {
    for source in sources() {
        let Some(own) = floor(&source.room) else { continue };
        for (at, _) in source.code.match_indices("crate::") {
            let name: String = source.code[at + 7..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let fine = BESIDE.contains(&name.as_str()) || floor(&name).is_none_or(|other| other <= own);
            assert!(
                fine,
                "{} (room {}) imports from {name}",
                source.path.display(),
                source.room
            );
        }
    }
}

/// Who may say what: the word, and the rooms that may.
#[test]
fn words_stay_in_their_rooms() {
    let rules: [(&str, &[&str]); 6] = [
        ("sqlx::", &["store"]),
        (".await", &["store", "serve", "cli"]),
        ("tokio::", &["store", "serve", "cli"]),
        ("println!", &["cli"]),
        ("Timestamp::now", &["clock"]),
        ("std::net::", &["serve", "mail", "engine", "postfix", "config"]),
    ];
    for source in sources() {
        for (word, rooms) in rules {
            let fine = !source.code.contains(word) || rooms.contains(&source.room.as_str());
            assert!(
                fine,
                "{} says {word}, which belongs in {rooms:?}",
                source.path.display()
            );
        }
    }
}

#[test]
fn files_open_with_their_purpose_and_stay_short() {
    for source in sources() {
        let path = source.path.display();
        assert!(
            source.text.starts_with("//!"),
            "{path} does not open with its purpose"
        );
        let lines = source.text.lines().count();
        assert!(
            lines <= 550,
            "{path} has {lines} lines: it holds more than one thing"
        );
        let stem = source.path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(
            !["utils", "util", "common", "helpers", "helper", "manager"].contains(&stem.as_str()),
            "{path}"
        );
    }
}
