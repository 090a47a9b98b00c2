//! `docs/operations.md` says what every code of an error means.

use netmode_model::error::Code;
use netmode_tests::sandbox::repository;
use std::collections::BTreeMap;

/// Rows of the table of errors: code, cause, what to do.
fn rows() -> BTreeMap<String, (String, String)> {
    let text = std::fs::read_to_string(repository().join("docs/operations.md")).expect("docs/operations.md");
    let table = text.split("## Errors").nth(1).expect("the section on errors").to_owned();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
        match cells[..] {
            [code, cause, fix] => {
                let code = code.strip_prefix('`')?.strip_suffix('`')?;
                Some((code.to_owned(), (cause.to_owned(), fix.to_owned())))
            }
            _ => None,
        }
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn every_code_has_its_cause_and_fix_and_none_is_invented() {
    let rows = rows();
    for code in Code::ALL {
        let (cause, fix) = rows.get(code.as_str()).unwrap_or_else(|| panic!("{code} is missing in docs/operations.md"));
        assert!(cause.len() > 20 && fix.len() > 10, "{code}: {cause} | {fix}");
    }
    let unknown: Vec<_> = rows.keys().filter(|row| Code::ALL.iter().all(|code| code.as_str() != *row)).collect();
    assert!(unknown.is_empty(), "no error has the codes {unknown:?}");
}

/// `docs/security.md` names for each wall the test that shows it.
#[test]
fn the_tests_that_show_each_wall_are_there() {
    let text = std::fs::read_to_string(repository().join("docs/security.md")).expect("docs/security.md");
    let tests = repository().join("tests/tests");
    let mut named = 0;
    for (file, name) in text.split('`').filter_map(|word| word.split_once("::")) {
        let plain = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !(plain(file) && plain(name)) {
            continue;
        }
        let source = std::fs::read_to_string(tests.join(format!("{file}.rs")))
            .unwrap_or_else(|e| panic!("{file}.rs, which docs/security.md names: {e}"));
        assert!(source.contains(&format!("#[test]\nfn {name}(")), "docs/security.md names {file}::{name}");
        named += 1;
    }
    assert!(named > 20, "only {named} tests are named");
}
