//! Completion with the Tab key.
//!
//! Invariant: looking for candidates changes nothing and sends no request to a store.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use tidegate::Session;
use tidegate_extensions::Services;
use tidegate_extensions::sql::ast::quote_name;
use tidegate_extensions::sql::{Expected, expected_at};
use tokio::runtime::Handle;

use crate::print::Format;
use crate::shell::{COMMANDS, Kind, Lexer, Scanner, pages};

/// If opening the tables takes longer, no columns are offered.
const PATIENCE: Duration = Duration::from_millis(300);

/// Finds candidates in a session's tables and catalog.
pub(super) struct Completion {
    session: Session,
    runtime: Handle,
}

/// The cursor's place in a line.
struct Place<'a> {
    /// The part of the statement before `partial`.
    before: &'a str,
    /// The whole statement.
    statement: &'a str,
    /// The word or text that is being typed, up to the cursor.
    partial: &'a str,
    /// Whether the cursor is in a quoted text that is not closed before it.
    in_quotes: bool,
}

impl Completion {
    pub(super) fn new(session: Session, runtime: Handle) -> Self {
        Self { session, runtime }
    }

    /// Returns the byte at which the word before the cursor begins, and the candidates to replace
    /// that word.
    pub(super) fn complete(&self, line: &str, cursor: usize) -> (usize, Vec<String>) {
        let Some(typed) = line.get(..cursor) else {
            return (cursor, Vec::new());
        };
        if let Some(completed) = self.complete_command(typed) {
            return completed;
        }
        let place = find_place(line, cursor);
        let mut candidates = Vec::new();
        for expected in expected_at(place.before, place.in_quotes) {
            self.offer(&expected, &place, &mut candidates);
        }
        candidates.sort();
        candidates.dedup();
        (cursor - place.partial.len(), candidates)
    }

    /// Completes a backslash command and its argument.
    fn complete_command(&self, typed: &str) -> Option<(usize, Vec<String>)> {
        let line = typed.rsplit('\n').next().unwrap_or_default();
        let command = line.trim_start().strip_prefix('\\')?;
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (partial, candidates): (&str, Vec<String>) =
            match command.split_once(char::is_whitespace) {
                None => {
                    let names = COMMANDS.iter().map(|command| format!("{} ", command.name));
                    (command, names.collect())
                }
                // A statement's name may have several words.
                Some(("h", argument)) => {
                    let statements = pages().map(|page| page.statement().to_owned());
                    (argument.trim_start(), statements.collect())
                }
                Some((name, argument)) => {
                    let partial = argument.rsplit(' ').next().unwrap_or_default();
                    let candidates = match name {
                        "d" | "dt" | "dv" => self.tables(""),
                        "dc" => self.catalog_names("", false),
                        "ds" => self.catalog_names("", true),
                        "x" => owned(&["on", "off", "auto"]),
                        "timing" => owned(&["on", "off"]),
                        "maxrows" => owned(&["all"]),
                        "format" => Format::value_variants()
                            .iter()
                            .map(|format| format.name())
                            .collect(),
                        "i" | "ir" | "o" => paths(partial),
                        _ => Vec::new(),
                    };
                    (partial, candidates)
                }
            };
        let found = candidates
            .into_iter()
            .filter(|name| starts_with(name, partial));
        Some((typed.len() - partial.len(), found.collect()))
    }

    fn offer(&self, expected: &Expected, place: &Place<'_>, candidates: &mut Vec<String>) {
        let partial = place.partial;
        match expected {
            _ if place.in_quotes => match expected {
                Expected::Text(text) if starts_with(text, partial) => {
                    candidates.push(format!("{text}'"));
                }
                Expected::Path => candidates.extend(paths(partial)),
                Expected::Connection => {
                    let names = self.catalog_names(partial, false).into_iter();
                    candidates.extend(names.map(|name| format!("{name}'")));
                }
                _ => {}
            },
            Expected::Words(words) => {
                if starts_with(words, partial) {
                    let lower = partial.chars().any(char::is_lowercase);
                    let words = if lower {
                        words.to_lowercase()
                    } else {
                        words.clone()
                    };
                    candidates.push(format!("{words} "));
                }
            }
            Expected::Text(text) => {
                if starts_with(text, partial) {
                    candidates.push(format!("'{text}'"));
                }
            }
            Expected::Secret => candidates.extend(self.catalog_names(partial, true)),
            Expected::Connection => candidates.extend(self.catalog_names(partial, false)),
            Expected::Table => candidates.extend(self.tables(partial)),
            Expected::Column => candidates.extend(self.columns(place)),
            Expected::Function if partial.is_empty() => {}
            Expected::Function => candidates.extend(self.functions(partial)),
            Expected::Path => {}
        }
    }

    fn catalog_names(&self, partial: &str, secrets: bool) -> Vec<String> {
        let state = self.session.context().state();
        let objects = Services::of(state.config()).and_then(|services| services.catalog.objects());
        let Ok(objects) = objects else {
            return Vec::new();
        };
        let names: Vec<String> = match secrets {
            true => objects.secrets().keys().cloned().collect(),
            false => objects.connections().keys().cloned().collect(),
        };
        matching(names, partial)
    }

    fn tables(&self, partial: &str) -> Vec<String> {
        let context = self.session.context();
        let state = context.state();
        let defaults = &state.config_options().catalog;
        let mut names = Vec::new();
        for catalog in context.catalog_names() {
            let Some(provider) = context.catalog(&catalog) else {
                continue;
            };
            for schema in provider.schema_names() {
                let Some(tables) = provider.schema(&schema).map(|schema| schema.table_names())
                else {
                    continue;
                };
                let is_default =
                    catalog == defaults.default_catalog && schema == defaults.default_schema;
                if schema == "tidegate" || schema == "information_schema" {
                    continue;
                }
                names.extend(tables.iter().map(|table| match is_default {
                    true => quote_name(table),
                    false => format!("{}.{}", quote_name(&schema), quote_name(table)),
                }));
            }
        }
        matching_as_they_are(names, partial)
    }

    /// The columns of the tables that the statement names. If it names none, the columns of all
    /// tables in the default schema.
    fn columns(&self, place: &Place<'_>) -> Vec<String> {
        // Only registered tables are opened: the session would look for any other name as a file.
        let known = self.tables("");
        let mut tables = named_tables(place.statement);
        tables.retain(|table| known.contains(table));
        if tables.is_empty() {
            tables = known;
            tables.retain(|table| !table.contains('.'));
        }
        let context = self.session.context();
        let columns = async {
            let mut columns = Vec::new();
            for table in tables {
                if let Ok(provider) = context.table_provider(table.as_str()).await {
                    let schema = provider.schema();
                    columns.extend(schema.fields().iter().map(|field| field.name().clone()));
                }
            }
            columns
        };
        let found = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, columns).await });
        let (table, partial) = place
            .partial
            .rsplit_once('.')
            .unwrap_or(("", place.partial));
        let names = matching(found.unwrap_or_default(), partial);
        match table {
            "" => names,
            table => names
                .into_iter()
                .map(|name| format!("{table}.{name}"))
                .collect(),
        }
    }

    fn functions(&self, partial: &str) -> Vec<String> {
        let state = self.session.context().state();
        let scalar = state.scalar_functions().keys();
        let aggregate = state.aggregate_functions().keys();
        let window = state.window_functions().keys();
        let names = scalar.chain(aggregate).chain(window).cloned();
        let names = matching_as_they_are(names.collect(), partial);
        names.into_iter().map(|name| format!("{name}(")).collect()
    }
}

fn starts_with(candidate: &str, partial: &str) -> bool {
    let start = candidate.get(..partial.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(partial))
}

fn matching(names: Vec<String>, partial: &str) -> Vec<String> {
    matching_as_they_are(names.iter().map(|name| quote_name(name)).collect(), partial)
}

fn matching_as_they_are(mut names: Vec<String>, partial: &str) -> Vec<String> {
    names.retain(|name| {
        starts_with(
            name.trim_start_matches('"'),
            partial.trim_start_matches('"'),
        )
    });
    names
}

/// The names after `FROM`, `JOIN` and the like.
fn named_tables(statement: &str) -> Vec<String> {
    const BEFORE: [&str; 6] = ["FROM", "JOIN", "COPY", "INTO", "UPDATE", "TABLE"];
    let mut tables = Vec::new();
    let mut expects = false;
    let mut name: Option<String> = None;
    for lexeme in Lexer::new(statement, 0) {
        let text = &statement[lexeme.start..lexeme.end];
        match lexeme.kind {
            Kind::Word | Kind::Name { closed: true } if expects || name.is_some() => {
                expects = false;
                name.get_or_insert_default().push_str(text);
            }
            Kind::Symbol if text == "." && name.is_some() => {
                name.get_or_insert_default().push('.');
            }
            Kind::Space => tables.extend(name.take()),
            _ => {
                tables.extend(name.take());
                let word = text.to_ascii_uppercase();
                expects = BEFORE.contains(&word.as_str());
            }
        }
    }
    tables.extend(name);
    tables
}

/// Finds the cursor's place in its statement.
fn find_place(line: &str, cursor: usize) -> Place<'_> {
    // Statements before the one at the cursor are skipped.
    let typed = &line[..cursor];
    let mut scanner = Scanner::new(typed);
    while scanner.next_complete().is_some() {}
    let start = cursor - scanner.rest().len().min(cursor);
    let statement_end = Lexer::new(line, start)
        .find(|lexeme| lexeme.kind == Kind::Semicolon)
        .map_or(line.len(), |lexeme| lexeme.start);
    let statement = &line[start..statement_end.max(cursor)];
    let mut partial_at = cursor;
    let mut in_quotes = false;
    if let Some(last) = Lexer::new(&typed[start..], 0).last() {
        match last.kind {
            Kind::Text { closed: false } => {
                partial_at = start + last.start + 1;
                in_quotes = true;
            }
            Kind::Word | Kind::Name { closed: false } => partial_at = start + last.start,
            _ => {}
        }
    }
    if !in_quotes {
        // A name may be qualified by a schema or a table.
        let before = &typed[start..partial_at];
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        if before.ends_with('.') {
            let qualifier = before.trim_end_matches(is_part);
            partial_at = start + qualifier.len();
        }
    }
    let end = if in_quotes {
        partial_at - 1
    } else {
        partial_at
    };
    Place {
        before: &typed[start..end],
        statement,
        partial: &typed[partial_at..],
        in_quotes,
    }
}

/// The files and folders whose paths begin with `partial`.
fn paths(partial: &str) -> Vec<String> {
    let (folder, name) = match partial.rfind('/') {
        Some(end) => partial.split_at(end + 1),
        None => ("", partial),
    };
    let folder_to_read = if folder.is_empty() { "." } else { folder };
    let Ok(entries) = std::fs::read_dir(Path::new(folder_to_read)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let is_hidden = file.starts_with('.') && !name.starts_with('.');
        if file.starts_with(name) && !is_hidden {
            let is_folder = entry.path().is_dir();
            let end = if is_folder { "/" } else { "" };
            found.push(format!("{folder}{file}{end}"));
        }
    }
    found.sort();
    found
}
