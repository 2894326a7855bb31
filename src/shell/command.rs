//! Backslash commands.
//!
//! Invariant: whatever a command shows of the catalog or the tables comes from a statement that the
//! user could have written.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use tidegate::{Error, ErrorKind, Location, Result};

use super::lexer::{Kind, Lexer};
use super::report::Source;
use super::scanner::Fragment;
use super::{Flow, Shell, Variables, help};
use crate::print::{Expanded, Format};

/// A command, for help and completion.
#[derive(Debug)]
pub(crate) struct Command {
    /// The name, without its backslash.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) arguments: &'static str,
    /// What it does.
    pub(crate) purpose: &'static str,
}

const fn command(name: &'static str, arguments: &'static str, purpose: &'static str) -> Command {
    Command {
        name,
        arguments,
        purpose,
    }
}

/// Every command, in the order in which help shows them.
pub(crate) const COMMANDS: &[Command] = &[
    command("?", "", "show these commands"),
    command("h", "[STATEMENT]", "explain a statement, with an example"),
    command("q", "", "leave (as does Ctrl-D)"),
    command("d", "[NAME]", "list tables and views, or describe one"),
    command("dt", "[PATTERN]", "list tables"),
    command("dv", "[PATTERN]", "list views"),
    command("df", "[PATTERN]", "list functions"),
    command("dn", "[PATTERN]", "list schemas"),
    command("dc", "[PATTERN]", "list connections"),
    command("ds", "[PATTERN]", "list secrets: names, never values"),
    command("x", "[on|off|auto]", "print a line for each value"),
    command(
        "format",
        "[NAME]",
        "table, csv, tsv, json, ndjson, markdown, vertical or none",
    ),
    command("maxrows", "[N|all]", "how many rows are printed at most"),
    command("timing", "[on|off]", "print how long statements take"),
    command(
        "o",
        "[FILE]",
        "send results to a file, or back to the screen",
    ),
    command("i", "FILE", "execute a script"),
    command("ir", "FILE", "execute a script named relative to this one"),
    command("g", "", "execute the statement, as ; does"),
    command("gx", "", "execute it and print a line for each value"),
    command(
        "set",
        "[NAME [VALUE …]]",
        "set a variable, or list them: :name, :'name', :\"name\"",
    ),
    command("unset", "NAME", "forget a variable"),
    command("echo", "[-n] [TEXT …]", "print a text"),
];

/// Whether the command ends the statement that stands before it.
pub(crate) fn ends_statement(written: &str) -> bool {
    matches!(name_of(written), "g" | "gx")
}

fn name_of(written: &str) -> &str {
    written.split_whitespace().next().unwrap_or_default()
}

impl Shell {
    /// Runs a command; `statement` is the one that it ends, if it ends one.
    pub(crate) async fn run_command(
        &mut self,
        source: &Source,
        written: &Fragment,
        statement: Option<Fragment>,
    ) -> Result<Flow> {
        let done = Box::pin(self.dispatch(source, written, statement)).await;
        match done {
            Ok(flow) => Ok(flow),
            Err(error) => {
                let start = written.start;
                let error = error.without_location().at(start);
                self.conclude(source, Err(error), |place| place, &written.text)
            }
        }
    }

    async fn dispatch(
        &mut self,
        source: &Source,
        written: &Fragment,
        statement: Option<Fragment>,
    ) -> Result<Flow> {
        let name = name_of(&written.text);
        let arguments = arguments(&written.text[name.len()..], &self.variables)?;
        let first = arguments.first().map(String::as_str);
        match name {
            "?" => self.print(&help::commands())?,
            "h" | "help" => self.print(&help::page(&arguments.join(" "))?)?,
            "q" | "quit" | "exit" => return Ok(Flow::Quit),
            "d" => match first {
                Some(table) => return self.query(&format!("DESCRIBE {table}")).await,
                None => return self.list("d", None).await,
            },
            "dt" | "dv" | "df" | "dn" | "dc" | "ds" => return self.list(name, first).await,
            "x" => self.settings.expanded = expanded(first, self.settings.expanded)?,
            "timing" => self.settings.timing = switch(name, first, self.settings.timing)?,
            "format" | "f" => match first {
                None => self.print(&format!("the format is {}", self.settings.format.name()))?,
                Some(wanted) => self.settings.format = format(wanted)?,
            },
            "maxrows" => self.settings.most_rows = most_rows(first)?,
            "o" => self.redirect(first.map(Path::new))?,
            "i" | "ir" => {
                let path = PathBuf::from(required(name, first)?);
                let folder = source.folder().filter(|_| name == "ir");
                let path = folder.map_or(path.clone(), |folder| folder.join(path));
                return self.run_file(&path).await;
            }
            "g" | "gx" => {
                let Some(statement) = statement else {
                    return Ok(Flow::Continue);
                };
                let expanded = self.settings.expanded;
                if name == "gx" {
                    self.settings.expanded = Expanded::On;
                }
                let flow = self.run_statement(source, &statement).await;
                self.settings.expanded = expanded;
                return flow;
            }
            "set" => match arguments.split_first() {
                None => {
                    let listed: Vec<String> = self
                        .variables
                        .iter()
                        .map(|(name, value)| format!("{name} = '{value}'"))
                        .collect();
                    self.print(&listed.join("\n"))?;
                }
                Some((name, values)) => {
                    let set = self.variables.set(name, values.concat());
                    set.map_err(|why| Error::new(ErrorKind::InvalidParameter, why))?;
                }
            },
            "unset" => self.variables.unset(required(name, first)?),
            "echo" => {
                let quiet_end = first == Some("-n");
                let words = &arguments[usize::from(quiet_end)..];
                self.echo(&words.join(" "), quiet_end)?;
            }
            unknown => return Err(unknown_command(unknown)),
        }
        Ok(Flow::Continue)
    }

    /// Runs a statement of a command's own.
    async fn query(&mut self, sql: &str) -> Result<Flow> {
        let source = Source::typed(sql.to_owned());
        let fragment = Fragment {
            text: sql.to_owned(),
            start: Location { line: 1, column: 1 },
        };
        let dry_run = std::mem::replace(&mut self.settings.dry_run, false);
        let flow = self.run_statement(&source, &fragment).await;
        self.settings.dry_run = dry_run;
        flow
    }

    async fn list(&mut self, what: &str, pattern: Option<&str>) -> Result<Flow> {
        let like = pattern.map(like_pattern);
        let matching = |column: &str| match &like {
            Some(like) => format!("{column} LIKE '{like}'"),
            None => "true".to_owned(),
        };
        let shown = like
            .as_ref()
            .map_or(String::new(), |like| format!(" LIKE '{like}'"));
        let tables = |kind: &str| {
            format!(
                "SELECT table_schema AS schema, table_name AS name, lower(table_type) AS type \
                 FROM information_schema.tables \
                 WHERE table_schema NOT IN ('information_schema', 'tidegate') AND {kind} AND {} \
                 ORDER BY 1, 2",
                matching("table_name")
            )
        };
        let sql = match what {
            "dt" => tables("table_type = 'BASE TABLE'"),
            "dv" => tables("table_type = 'VIEW'"),
            "dn" => format!(
                "SELECT catalog_name AS catalog, schema_name AS name \
                 FROM information_schema.schemata WHERE {} ORDER BY 1, 2",
                matching("schema_name")
            ),
            "df" => format!(
                "SELECT DISTINCT routine_name AS name, lower(function_type) AS type, description \
                 FROM information_schema.routines WHERE {} ORDER BY 1",
                matching("routine_name")
            ),
            "dc" => format!("SHOW CONNECTIONS{shown}"),
            "ds" => format!("SHOW SECRETS{shown}"),
            _ => tables("true"),
        };
        self.query(&sql).await
    }
}

/// psql's patterns have `*` and `?`.
fn like_pattern(pattern: &str) -> String {
    let pattern = pattern.replace('\'', "''");
    let pattern = pattern
        .replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_");
    pattern.replace('*', "%").replace('?', "_")
}

/// Splits a command's arguments: blanks separate them, single quotes hold them together and know
/// `\n` and `\t`, double quotes hold them together; variables are replaced.
fn arguments(written: &str, variables: &Variables) -> Result<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    let mut current: Option<String> = None;
    let start = Location { line: 1, column: 1 };
    for lexeme in Lexer::new(written, 0) {
        let text = &written[lexeme.start..lexeme.end];
        match lexeme.kind {
            Kind::Space => all.extend(current.take()),
            Kind::Text { closed: false } | Kind::Name { closed: false } => {
                let why = format!("a quote is not closed: {text}");
                return Err(Error::new(ErrorKind::Syntax, why));
            }
            Kind::Text { .. } if text.starts_with('\'') => {
                let inner = text[1..text.len() - 1].replace("''", "'");
                let inner = inner.replace("\\n", "\n").replace("\\t", "\t");
                current.get_or_insert_default().push_str(&inner);
            }
            Kind::Name { .. } if all.is_empty() || !text.starts_with('"') => {
                current.get_or_insert_default().push_str(text);
            }
            Kind::Name { .. } => {
                let inner = text[1..text.len() - 1].replace("\"\"", "\"");
                current.get_or_insert_default().push_str(&inner);
            }
            Kind::Variable => {
                let text = text.to_owned();
                let replaced = variables.interpolate(&Fragment { text, start }).text;
                current.get_or_insert_default().push_str(&replaced);
            }
            _ => current.get_or_insert_default().push_str(text),
        }
    }
    all.extend(current);
    Ok(all)
}

fn required<'a>(name: &str, argument: Option<&'a str>) -> Result<&'a str> {
    argument.ok_or_else(|| {
        let known = COMMANDS.iter().find(|command| command.name == name);
        let arguments = known.map_or("", |command| command.arguments);
        let why = format!("\\{name} needs an argument: \\{name} {arguments}");
        Error::new(ErrorKind::Syntax, why)
    })
}

fn invalid(why: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, why)
}

fn switch(name: &str, argument: Option<&str>, current: bool) -> Result<bool> {
    match argument {
        None => Ok(!current),
        Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => Err(invalid(format!("\\{name} is on or off, not {other}"))),
    }
}

fn expanded(argument: Option<&str>, current: Expanded) -> Result<Expanded> {
    match argument {
        None if current == Expanded::On => Ok(Expanded::Off),
        None | Some("on") => Ok(Expanded::On),
        Some("off") => Ok(Expanded::Off),
        Some("auto") => Ok(Expanded::Auto),
        Some(other) => Err(invalid(format!("\\x is on, off or auto, not {other}"))),
    }
}

fn format(wanted: &str) -> Result<Format> {
    Format::from_str(wanted, true).map_err(|_| {
        let names = Format::value_variants().iter().map(|format| format.name());
        let names: Vec<String> = names.collect();
        invalid(format!("unknown format: {wanted}"))
            .with_hint(format!("the formats are {}", names.join(", ")))
    })
}

fn most_rows(argument: Option<&str>) -> Result<Option<u64>> {
    match argument {
        None | Some("all") => Ok(None),
        Some(number) => match number.parse() {
            Ok(rows) if rows > 0 => Ok(Some(rows)),
            _ => Err(invalid(format!(
                "\\maxrows takes a number of rows or all, not {number}"
            ))),
        },
    }
}

fn unknown_command(name: &str) -> Error {
    let error = Error::new(ErrorKind::Syntax, format!("unknown command: \\{name}"));
    let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    match tidegate_extensions::sql::nearest(name, &names) {
        Some(near) => error.with_hint(format!("did you mean \\{near}? \\? shows all of them")),
        None => error.with_hint("\\? shows all of them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split_as_psql_does() {
        let mut variables = Variables::default();
        variables.set("x", "a b".to_owned()).unwrap();
        let split = |written| arguments(written, &variables).unwrap();
        assert_eq!(split(" a  b\tc"), ["a", "b", "c"]);
        assert_eq!(split("'it''s' a'b c'd"), ["it's", "ab cd"]);
        assert_eq!(split("x 'one\\ntwo'"), ["x", "one\ntwo"]);
        assert_eq!(split(":x :'x' ':x'"), ["a b", "'a b'", ":x"]);
        assert_eq!(split("/tmp/x.sql"), ["/tmp/x.sql"]);
        assert_eq!(split("''"), [""]);
        assert!(arguments("'open", &variables).is_err());
    }

    #[test]
    fn patterns_become_those_of_like() {
        assert_eq!(like_pattern("line*"), "line%");
        assert_eq!(like_pattern("a_b?"), "a\\_b_");
    }
}
