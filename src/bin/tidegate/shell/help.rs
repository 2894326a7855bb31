//! The texts that `\?` and `\h` print.
//!
//! Invariant: `\h` prints the pages of the documentation, so that the two can't differ.

use tidegate::{Error, ErrorKind, Result};
use tidegate_extensions::sql::nearest;

/// A statement's page of `docs/statements`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    text: &'static str,
}

impl Page {
    /// The statement: the page's heading.
    pub(crate) fn statement(&self) -> &'static str {
        let heading = self.text.lines().next().unwrap_or_default();
        heading.trim_start_matches(['#', ' '])
    }

    /// The first line below the heading: a sentence.
    fn purpose(&self) -> &'static str {
        let purpose = self.text.lines().skip(1).find(|line| !line.is_empty());
        purpose.unwrap_or_default()
    }

    /// The page for a terminal: code blocks are indented, and links are replaced with their words.
    fn render(&self) -> String {
        let mut rendered = Vec::new();
        let mut in_block = false;
        for line in self.text.lines() {
            if line.starts_with("```") {
                in_block = !in_block;
            } else if in_block {
                rendered.push(format!("    {line}").trim_end().to_owned());
            } else {
                let line = without_links(line).replace('`', "");
                rendered.push(line.trim_start_matches(['#', ' ']).to_owned());
            }
        }
        rendered.join("\n")
    }
}

/// Every page, in the order of the list that `\h` prints.
pub(crate) fn pages() -> impl Iterator<Item = Page> {
    [
        include_str!("../../../../docs/statements/copy.md"),
        include_str!("../../../../docs/statements/copy-to-stdout.md"),
        include_str!("../../../../docs/statements/copy-from.md"),
        include_str!("../../../../docs/statements/recover-export.md"),
        include_str!("../../../../docs/statements/create-secret.md"),
        include_str!("../../../../docs/statements/alter-secret.md"),
        include_str!("../../../../docs/statements/drop-secret.md"),
        include_str!("../../../../docs/statements/show-secrets.md"),
        include_str!("../../../../docs/statements/create-connection.md"),
        include_str!("../../../../docs/statements/alter-connection.md"),
        include_str!("../../../../docs/statements/drop-connection.md"),
        include_str!("../../../../docs/statements/show-connections.md"),
        include_str!("../../../../docs/statements/validate-connection.md"),
        include_str!("../../../../docs/statements/select.md"),
        include_str!("../../../../docs/statements/summarize.md"),
        include_str!("../../../../docs/statements/show-files.md"),
        include_str!("../../../../docs/statements/create-table.md"),
        include_str!("../../../../docs/statements/create-view.md"),
        include_str!("../../../../docs/statements/create-external-table.md"),
        include_str!("../../../../docs/statements/insert.md"),
        include_str!("../../../../docs/statements/update.md"),
        include_str!("../../../../docs/statements/delete.md"),
        include_str!("../../../../docs/statements/truncate.md"),
        include_str!("../../../../docs/statements/explain.md"),
    ]
    .into_iter()
    .map(|text| Page { text })
}

/// The page of a statement, or the list of all pages if `statement` is empty.
///
/// # Errors
/// There is no such page.
pub(super) fn page(statement: &str) -> Result<String> {
    let wanted = statement.trim().trim_end_matches(';').to_uppercase();
    let wanted = wanted.split_whitespace().collect::<Vec<_>>().join(" ");
    let names: Vec<&str> = pages().map(|page| page.statement()).collect();
    if wanted.is_empty() {
        let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
        let lines = pages().map(|page| {
            let name = page.statement();
            format!("  {name:longest$}  {}", page.purpose())
        });
        let lines: Vec<String> = lines.collect();
        return Ok(format!(
            "\\h STATEMENT explains one of these:\n{}",
            lines.join("\n")
        ));
    }
    let exact = pages().find(|page| page.statement() == wanted);
    let begins = || pages().find(|page| page.statement().starts_with(&wanted));
    match exact.or_else(begins) {
        Some(page) => Ok(page.render()),
        None => {
            let why = format!("no help on {wanted}");
            let error = Error::new(ErrorKind::InvalidParameter, why);
            Err(match nearest(&wanted, &names) {
                Some(near) => error.with_hint(format!("did you mean \\h {near}?")),
                None => error.with_hint("\\h lists all statements"),
            })
        }
    }
}

/// Replaces each link `[words](target)` with its words.
fn without_links(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('[') {
        let Some((words, target)) = rest[start + 1..].split_once("](") else {
            break;
        };
        let Some(end) = target.find(')').filter(|_| !words.contains('[')) else {
            break;
        };
        plain.push_str(&rest[..start]);
        plain.push_str(words);
        rest = &target[end + 1..];
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_purpose_and_an_example() {
        for page in pages() {
            assert!(!page.purpose().is_empty(), "{}", page.statement());
            assert!(page.text.contains("```sql"), "{}", page.statement());
            assert!(page.purpose().ends_with(['.', ':']), "{}", page.purpose());
        }
    }

    #[test]
    fn pages_are_found_by_their_beginning() {
        assert!(super::page("copy").unwrap().starts_with("COPY\n"));
        assert!(
            super::page("create  secret;")
                .unwrap()
                .starts_with("CREATE SECRET\n")
        );
        assert!(
            super::page("validate")
                .unwrap()
                .starts_with("VALIDATE CONNECTION\n")
        );
        let error = super::page("create sceret").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean \\h CREATE SECRET?"));
    }

    #[test]
    fn links_are_their_words() {
        assert_eq!(without_links("as in [COPY](copy.md)."), "as in COPY.");
        assert_eq!(without_links("a [ b ] (c)"), "a [ b ] (c)");
    }
}
