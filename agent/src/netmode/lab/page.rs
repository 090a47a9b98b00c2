//! The text of a lab as a terminal shows it: without the marks of Markdown that only a browser turns into something,
//! and with lines as long as the terminal is wide.

use crate::failure::Failure;
use crate::lab::catalog::Lab;
use crate::lab::enter;
use crate::lab::progress::Progress;
use crate::output::print;
use std::io::{IsTerminal, stdout};
use terminal_size::{Width, terminal_size_of};

/// Behind it stands what one sees when the tasks are done.
const SOLVED: &str = "<!-- solve -->";
/// The longest line of a paragraph, and its length where nobody says how wide the terminal is.
const WIDEST: usize = 100;

/// Prints the text: up to the tasks, and the rest once they are done or if all of it is wanted.
pub(crate) fn show(lab: &Lab, all: bool) -> Result<(), Failure> {
    let text = lab.text()?;
    let whole = all || Progress::of(&lab.name).was_done(&lab.card.checks);
    let (shown, rest) = text.split_once(SOLVED).unwrap_or((&text, ""));
    let page = if whole || rest.is_empty() {
        rendered(&text, width())
    } else {
        let note =
            "What you should see is shown here once `netmode lab check` passes; at once by `netmode lab text --all`.";
        rendered(&format!("{shown}\n{note}\n"), width())
    };
    if stdout().is_terminal() { enter::page(&page) } else { print(&page) }
}

/// What stands before the first section.
pub(crate) fn beginning(text: &str) -> String {
    rendered(text.split("\n## ").next().unwrap_or_default(), width())
}

fn width() -> usize {
    terminal_size_of(stdout()).map_or(WIDEST, |(Width(columns), _)| usize::from(columns).clamp(20, WIDEST))
}

/// A paragraph in the making.
#[derive(Default)]
struct Paragraph {
    words: Vec<String>,
    /// Before the first line.
    first: String,
    /// Spaces before the others.
    indent: usize,
}

fn rendered(text: &str, width: usize) -> String {
    let (mut out, mut paragraph, mut in_fence, mut before) = (String::new(), Paragraph::default(), false, "");
    for line in text.lines() {
        let is_fence = line.starts_with("```");
        let is_code = line.starts_with("    ") && (before.is_empty() || before.starts_with("    "));
        let marker = marker(line);
        if is_fence || in_fence || is_code || line.is_empty() || line.starts_with(['#', '<']) || marker > 0 {
            out += &std::mem::take(&mut paragraph).filled(width);
        }
        if is_fence {
            in_fence = !in_fence;
        } else if in_fence {
            out += &format!("    {line}\n");
        } else if is_code || line.starts_with('#') || line.is_empty() {
            out += &format!("{line}\n");
        } else if !line.starts_with("<!--") {
            if marker > 0 {
                paragraph = Paragraph { first: line[..marker].to_owned(), indent: marker, words: vec![] };
            } else if paragraph.words.is_empty() {
                paragraph.indent = line.len() - line.trim_start().len();
                paragraph.first = " ".repeat(paragraph.indent);
            }
            paragraph.words.extend(line[marker..].split_whitespace().map(String::from));
        }
        before = line;
    }
    out += &paragraph.filled(width);
    // What was taken out leaves no gap.
    while out.contains("\n\n\n") {
        out = out.replace("\n\n\n", "\n\n");
    }
    out
}

/// Length of `1. ` or `- `.
fn marker(line: &str) -> usize {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    match &line[digits..] {
        rest if digits > 0 && rest.starts_with(". ") => digits + 2,
        rest if digits == 0 && (rest.starts_with("- ") || rest.starts_with("* ")) => 2,
        _ => 0,
    }
}

impl Paragraph {
    fn filled(self, width: usize) -> String {
        let mut text = self.first;
        let mut column = text.chars().count();
        let mut begins = true;
        for word in unbroken(&self.words) {
            let length = word.chars().count();
            if !begins && column + 1 + length > width {
                text += &format!("\n{}", " ".repeat(self.indent));
                column = self.indent;
                begins = true;
            }
            if !begins {
                text.push(' ');
                column += 1;
            }
            text += &word;
            column += length;
            begins = false;
        }
        if begins { String::new() } else { text + "\n" }
    }
}

/// Words, those between two backticks being one: a command is not broken over two lines.
fn unbroken(words: &[String]) -> Vec<String> {
    let mut whole: Vec<String> = Vec::new();
    for word in words {
        match whole.last_mut() {
            Some(last) if last.matches('`').count() % 2 == 1 => *last += &format!(" {word}"),
            _ => whole.push(word.clone()),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_filled_and_marks_are_gone() {
        let text = "# Lab 1\n\nOne two three\nfour `ip -br\nlink` five.\n\n```console\n$ a  b\n```\n\n1. First that is\n   long\n\n       nft add\n\n<!-- solve -->\n\nEnd\n";
        let expected = "# Lab 1\n\nOne two three four\n`ip -br link` five.\n\n    $ a  b\n\n1. First that is\n   long\n\n       nft add\n\nEnd\n";
        assert_eq!(rendered(text, 20), expected);
    }
}
