//! Leftover marks, long files, first lines.

use super::{File, Findings, Tree};

/// From here on a file is looked at for a second reason to change.
const LINES_WARN: usize = 600;

/// No source file is longer.
const LINES_MAX: usize = 800;

/// Marks of unfinished work. Split here, so that this file does not find itself.
const MARKS: [&str; 7] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("HA", "CK"),
    concat!("to", "do!("),
    concat!("db", "g!("),
    concat!("unimplemen", "ted!("),
];

pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    for file in &tree.files {
        check_marks(file, findings);
    }
    for file in tree.with_extension("rs") {
        check_length(file, findings);
        check_first_line(file, "//!", findings);
    }
    for file in tree.with_extension("sql") {
        check_first_line(file, "--", findings);
    }
}

fn check_marks(file: &File, findings: &mut Findings) {
    for (index, line) in file.text.lines().enumerate() {
        for mark in MARKS {
            if stands_alone(line, mark) {
                findings.error(format!("{}:{}: leftover mark {mark}", file.path.display(), index + 1));
            }
        }
    }
}

/// Says whether `mark` is in the line and not part of a longer word.
fn stands_alone(line: &str, mark: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(mark).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + mark.len()..].chars().next();
        let goes_on = mark.ends_with(is_word) && after.is_some_and(is_word);
        let within_word = before.is_some_and(is_word) || goes_on;
        !within_word
    })
}

fn check_length(file: &File, findings: &mut Findings) {
    let lines = file.text.lines().count();
    let path = file.path.display();
    if lines > LINES_MAX {
        findings.error(format!("{path}: {lines} lines, at most {LINES_MAX}: make two files of it"));
    } else if lines > LINES_WARN {
        findings.warn(format!("{path}: {lines} lines, look for the second reason to change"));
    }
}

fn check_first_line(file: &File, comment: &str, findings: &mut Findings) {
    let first = file.text.lines().next().unwrap_or_default();
    let says_something = first.strip_prefix(comment).is_some_and(|rest| rest.trim().len() >= 10);
    if !says_something {
        findings.error(format!("{}:1: does not say what the file is for (`{comment} …`)", file.path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Findings {
        let mut findings = Findings::default();
        let tree = Tree { files: vec![File { path: path.into(), text: text.into() }] };
        super::check(&tree, &mut findings);
        findings
    }

    #[test]
    fn a_mark_is_found_with_its_line() {
        let text = format!("//! What it is for.\n// {}: later\n", MARKS[0]);
        assert_eq!(check("a.rs", &text).errors, [format!("a.rs:2: leftover mark {}", MARKS[0])]);
    }

    #[test]
    fn a_mark_within_a_word_is_none() {
        let text = format!("//! What it is for.\nlet {}_MAX = {}S;\n", MARKS[0], MARKS[3]);
        assert_eq!(check("a.rs", &text).errors, Vec::<String>::new());
    }

    #[test]
    fn a_file_says_first_what_it_is_for() {
        assert_eq!(check("a.rs", "use std::io;\n").errors.len(), 1);
        assert_eq!(check("a.sql", "SELECT 1;\n").errors.len(), 1);
        assert_eq!(check("a.sql", "-- The newest ten.\nSELECT 1;\n").errors.len(), 0);
        assert_eq!(check("a.toml", "[a]\n").errors.len(), 0);
    }

    #[test]
    fn a_long_file_is_named_and_a_longer_one_refused() {
        let lines = |count: usize| format!("//! What it is for.\n{}", "\n".repeat(count - 1));
        assert_eq!(check("a.rs", &lines(LINES_WARN)).warnings.len(), 0);
        assert_eq!(check("a.rs", &lines(LINES_WARN + 1)).warnings.len(), 1);
        assert_eq!(check("a.rs", &lines(LINES_MAX + 1)).errors.len(), 1);
    }
}
