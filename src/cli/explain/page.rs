//! A page of text: labels to the left, sentences to the right, wrapped. What strangers wrote is shown
//! without control characters.

use super::plain;

/// Columns of a page.
const WIDTH: usize = 100;
/// Columns of the labels.
const LABEL: usize = 13;

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// What the page is about.
    pub(super) fn title(&mut self, title: &str) {
        self.wrapped("", 0, title);
        self.0.push('\n');
    }

    /// A label, and what there is to it.
    pub(super) fn row(&mut self, label: &str, text: &str) {
        self.wrapped(&format!("  {label:LABEL$}"), LABEL + 2, text);
    }

    /// A line over several items.
    pub(super) fn heading(&mut self, heading: &str) {
        self.0.push('\n');
        self.wrapped("", 0, heading);
    }

    /// One of several, and a line about it where there is something to say.
    pub(super) fn item(&mut self, name: &str, about: &str) {
        self.wrapped("  ", 4, name);
        if !about.is_empty() {
            self.wrapped("      ", 6, about);
        }
    }

    /// The page.
    pub(super) fn text(&self) -> &str {
        self.0.trim_end()
    }

    fn wrapped(&mut self, first: &str, indent: usize, text: &str) {
        let mut line = first.to_owned();
        let mut columns = first.chars().count();
        let mut empty = true;
        for word in plain(text).split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if !empty && columns + length > WIDTH {
                self.end(&line);
                line = " ".repeat(indent);
                columns = indent;
            }
            line.push_str(word);
            columns += word.chars().count();
            empty = false;
        }
        self.end(&line);
    }

    fn end(&mut self, line: &str) {
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped_beneath_their_own() {
        let mut page = Page::default();
        page.title("550 no\x1b[2J");
        page.row("cause", &"word ".repeat(30));
        page.item("a.rule", &"x".repeat(200));
        let text = page.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "550 no [2J");
        assert!(lines[2].starts_with("  cause        word word") && lines[2].len() <= WIDTH);
        assert!(lines[3].starts_with("               word"), "{text}");
        assert_eq!(
            lines.last().unwrap().trim_start().len(),
            200,
            "what has no blank is not torn"
        );
    }
}
