//! Properties that hold for any input. The fuzz targets look for inputs that break one, and a unit
//! test checks the inputs that they have found.
//!
//! Invariant: a check panics if its property does not hold, and returns otherwise.

use std::str::from_utf8;

use crate::read::{check_records, check_sniffer};
use crate::s3::check_bodies;
use crate::sink::check_bookkeeping;
use crate::sql::ast::Statement;
use crate::sql::{SqlDialect, may_hold_secret, parse_statement, split_script};

/// The checks, by the names of their fuzz targets.
const CHECKS: [(&str, fn(&[u8])); 5] = [
    ("statements", check_statements),
    ("csv", check_records),
    ("sniffer", check_sniffer),
    ("xml", check_bodies),
    ("bookkeeping", check_bookkeeping),
];

/// Checks an input of a fuzz target.
pub fn check(target: &str, data: &[u8]) {
    let check = CHECKS.iter().find(|(name, _)| *name == target);
    assert!(check.is_some(), "there is no target {target}");
    check.into_iter().for_each(|(_, check)| check(data));
}

/// A statement of Tidegate prints as SQL that parses to a statement which prints the same.
fn check_statements(data: &[u8]) {
    let Ok(sql) = SqlDialect::new("generic".to_owned(), 50) else {
        return;
    };
    let Ok(text) = from_utf8(data) else { return };
    let parse = |text: &str| {
        let script = split_script(text, sql.dialect().as_ref());
        let statements = script.statements.into_iter();
        let parsed = statements.map(|statement| parse_statement(statement, &sql));
        parsed.collect::<Vec<_>>()
    };
    may_hold_secret(text);
    for statement in parse(text).into_iter().flatten() {
        let mut explained = &statement;
        while let Statement::Explain(explain) = explained {
            explained = explain.statement.as_ref();
        }
        // sqlparser prints queries.
        let has_query = matches!(
            explained,
            Statement::DataFusion(_)
                | Statement::CopyTo(_)
                | Statement::CopyOut(_)
                | Statement::Summarize(_)
        );
        if has_query {
            continue;
        }
        let printed = statement.to_string();
        let again = parse(&printed);
        let is_same = matches!(again.as_slice(), [Ok(again)] if again.to_string() == printed);
        assert!(is_same, "{printed} is read as {again:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn inputs_that_were_found_hold() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, _) in CHECKS {
            let inputs = std::fs::read_dir(corpus.join(name)).unwrap();
            let mut count = 0;
            for input in inputs {
                let input = input.unwrap().path();
                let data = std::fs::read(&input).unwrap();
                let checked = std::panic::catch_unwind(|| check(name, &data));
                assert!(checked.is_ok(), "{}", input.display());
                count += 1;
            }
            assert!(count > 0, "{name}");
        }
    }
}
