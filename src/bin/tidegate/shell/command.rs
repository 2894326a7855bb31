//! Backslash commands.
//!
//! Invariant: a command that shows the catalog or the tables executes a statement that the user
//! could have written.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use tidegate::{Error, ErrorKind, Location, Result};

use super::condition::is_condition;
use super::lexer::{Kind, Lexer};
use super::report::Source;
use super::scanner::Fragment;
use super::{Flow, Shell, Variables, help};
use crate::print::{Expanded, Format, write_out};

/// A command, for help and completion.
#[derive(Debug)]
pub(crate) struct Command {
    /// The name, without its backslash.
    pub(crate) name: &'static str,
    /// The arguments, as help shows them.
    pub(crate) arguments: &'static str,
    /// The purpose, as help shows it.
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
        "gset",
        "[PREFIX]",
        "execute it and store its only row in variables",
    ),
    command(
        "gdesc",
        "",
        "show the columns of the statement without executing it",
    ),
    command(
        "watch",
        "[SECONDS]",
        "execute it again and again, until Ctrl-C",
    ),
    command(
        "set",
        "[NAME [VALUE …]]",
        "set a variable, or list them: :name, :'name', :\"name\"",
    ),
    command("unset", "NAME", "forget a variable"),
    command("echo", "[-n] [TEXT …]", "print a text"),
    command(
        "if",
        "TRUE|FALSE",
        "execute what follows, up to \\else or \\endif, only if true",
    ),
    command(
        "elif",
        "TRUE|FALSE",
        "another condition, if no earlier one was true",
    ),
    command("else", "", "if no condition was true"),
    command("endif", "", "end the condition"),
    command(
        "!",
        "[COMMAND …]",
        "run a command of the system, or its shell",
    ),
];

/// Whether the command ends the statement before it.
pub(super) fn ends_statement(written: &str) -> bool {
    matches!(name_of(written), "g" | "gx" | "gset" | "gdesc" | "watch")
}

pub(super) fn name_of(written: &str) -> &str {
    written.split_whitespace().next().unwrap_or_default()
}

impl Shell {
    /// Runs a command. `statement` is the statement that the command ends, if there is one.
    pub(super) async fn run_command(
        &mut self,
        source: &Source,
        written: &Fragment,
        statement: Option<Fragment>,
    ) -> Result<Flow> {
        let done = Box::pin(self.dispatch(source, written, statement)).await;
        match done {
            Ok(flow) => Ok(flow),
            Err(error) => {
                let error = error.without_location().at(written.start);
                let shown = Fragment {
                    text: match name_of(&written.text) {
                        // A variable's value may be meant for a secret.
                        "set" => String::new(),
                        _ => format!("\\{}", written.text),
                    },
                    start: written.start,
                };
                self.conclude(source, Err(error), |place| place, &shown)
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
        let rest = &written.text[name.len()..];
        if name == "!" {
            // The rest of the line is the system's, with its own quotes.
            run_system(rest.trim()).await?;
            return Ok(Flow::Continue);
        }
        let arguments = arguments(rest, &self.variables)?;
        check_count(name, &arguments)?;
        let first = arguments.first().map(String::as_str);
        if is_condition(name) {
            self.conditions.apply(name, first)?;
            return Ok(Flow::Continue);
        }
        match name {
            "copy" => {
                let error = Error::new(ErrorKind::Unsupported, "\\copy is not a command here");
                return Err(error.with_hint("write COPY t TO 'path' or COPY t FROM 'path' instead"));
            }
            "?" => say(&list_commands())?,
            "h" | "help" => say(&help::page(&arguments.join(" "))?)?,
            "q" | "quit" | "exit" => return Ok(Flow::Quit),
            // The argument is an SQL name, which may be quoted.
            "d" if first.is_some_and(|name| !name.contains(['*', '?'])) => {
                let table = self.variables.interpolate(&unplaced(rest)).text;
                let table = table.trim().trim_end_matches(';');
                self.query(&format!("DESCRIBE {table}")).await?;
            }
            "d" | "dt" | "dv" | "df" | "dn" | "dc" | "ds" => {
                self.list(name, first.map(|pattern| pattern.trim_end_matches(';')))
                    .await?;
            }
            "x" => {
                self.settings.expanded = expanded(first, self.settings.expanded)?;
                let state = match self.settings.expanded {
                    Expanded::On => "on",
                    Expanded::Off => "off",
                    Expanded::Auto => "used where a row is too wide",
                };
                self.tell(&format!("expanded display is {state}"))?;
            }
            "timing" => {
                self.settings.timing = switch(name, first, self.settings.timing)?;
                let state = if self.settings.timing { "on" } else { "off" };
                self.tell(&format!("timing is {state}"))?;
            }
            "format" | "f" => match first {
                None => say(&format!("the format is {}", self.settings.format.name()))?,
                Some(wanted) => self.settings.format = format(wanted)?,
            },
            "maxrows" => {
                if first.is_some() {
                    self.settings.most_rows = most_rows(first)?;
                }
                let most = self.settings.most_rows;
                let rows = most.map_or("all rows are".to_owned(), |most| {
                    format!("at most {most} rows are")
                });
                self.tell(&format!("{rows} printed"))?;
            }
            "o" => self.redirect(first.map(at_home).as_deref())?,
            "i" | "ir" => {
                let path = at_home(required(name, first)?.trim_end_matches(';'));
                let folder = source.folder().filter(|_| name == "ir");
                let path = folder.map_or(path.clone(), |folder| folder.join(path));
                return self.run_file(&path).await;
            }
            "g" | "gx" | "gset" | "gdesc" | "watch" => {
                // Without a statement, the previous statement is executed again.
                let Some(statement) = statement.or_else(|| self.last.clone()) else {
                    return Ok(Flow::Continue);
                };
                match name {
                    "gset" => {
                        let prefix = first.unwrap_or_default();
                        return self.store_row(source, &statement, prefix).await;
                    }
                    "gdesc" => return self.describe(source, &statement).await,
                    "watch" => return self.watch(source, &statement, seconds(first)?).await,
                    _ => {}
                }
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
                    say(&listed.join("\n"))?;
                }
                Some((name, values)) => {
                    let set = self.variables.set(name, values.concat());
                    set.map_err(|why| Error::new(ErrorKind::InvalidParameter, why))?;
                }
            },
            "unset" => self.variables.unset(required(name, first)?),
            "echo" => {
                let (words, end) = match first {
                    Some("-n") => (&arguments[1..], ""),
                    _ => (&arguments[..], "\n"),
                };
                write_out(&format!("{}{end}", words.join(" ")))?;
            }
            unknown => return Err(unknown_command(unknown)),
        }
        Ok(Flow::Continue)
    }

    /// Executes a command's own statement, even in a dry run.
    async fn query(&mut self, sql: &str) -> Result<()> {
        let dry_run = self.dry_run.take();
        let done = self.execute_text(sql).await;
        self.dry_run = dry_run;
        done
    }

    /// Prints the new state of a setting, in the interactive shell only.
    fn tell(&self, state: &str) -> Result<()> {
        match self.settings.interactive && !self.settings.quiet {
            true => say(state),
            false => Ok(()),
        }
    }

    async fn list(&mut self, what: &str, pattern: Option<&str>) -> Result<()> {
        // A pattern may begin with a pattern for schemas, as in `schema.name`.
        let (schema, pattern) = match pattern.and_then(|pattern| pattern.split_once('.')) {
            Some((schema, name)) => (Some(like_pattern(schema)), Some(name)),
            None => (None, pattern),
        };
        let in_schema = schema.map_or("true".to_owned(), |like| {
            format!("table_schema LIKE '{like}'")
        });
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
                 WHERE table_schema NOT IN ('information_schema', 'tidegate') AND {kind} AND {in_schema} AND {} \
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

/// Prints to standard output, even when results go to a file.
fn say(text: &str) -> Result<()> {
    write_out(&format!("{text}\n"))
}

/// Converts psql's pattern, with `*` and `?`, to a pattern of `LIKE`.
fn like_pattern(pattern: &str) -> String {
    let pattern = pattern.replace('\'', "''");
    let pattern = pattern
        .replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_");
    pattern.replace('*', "%").replace('?', "_")
}

/// Refuses arguments that the command would ignore.
fn check_count(name: &str, arguments: &[String]) -> Result<()> {
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return Ok(());
    };
    if name == "o" && arguments.iter().any(|argument| argument.starts_with('|')) {
        let error = Error::new(ErrorKind::Unsupported, "\\o writes to files only");
        return Err(error.with_hint("pipe the program's own output: tidegate … | command"));
    }
    let most = match command.arguments {
        "" => 0,
        _ if name == "h" || command.arguments.contains('…') => usize::MAX,
        _ => 1,
    };
    if arguments.len() <= most {
        return Ok(());
    }
    let surplus = &arguments[most];
    let why = match most {
        0 => format!("\\{name} takes nothing: {surplus}"),
        _ => format!(
            "\\{name} takes no more than {}: {surplus}",
            command.arguments
        ),
    };
    Err(Error::new(ErrorKind::Syntax, why))
}

/// Replaces `~/` at the beginning of a path with the user's home.
fn at_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), dirs::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// A text that is not part of a script.
fn unplaced(text: &str) -> Fragment {
    Fragment {
        text: text.to_owned(),
        start: Location { line: 1, column: 1 },
    }
}

/// Decodes the text between single quotes: a doubled quote is one quote, and `\n`, `\t` and `\\`
/// are escapes, as in C.
fn unquote(inner: &str) -> String {
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, characters.peek()) {
            ('\'', Some('\'')) | ('\\', Some('\\')) => plain.push(c),
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some('t')) => plain.push('\t'),
            _ => {
                plain.push(c);
                continue;
            }
        }
        characters.next();
    }
    plain
}

/// Splits a command's arguments at blanks outside quotes, removes the quotes, and replaces
/// variables.
fn arguments(written: &str, variables: &Variables) -> Result<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    let mut current: Option<String> = None;
    for lexeme in Lexer::new(written, 0) {
        let text = &written[lexeme.start..lexeme.end];
        match lexeme.kind {
            Kind::Space => all.extend(current.take()),
            Kind::Text { closed: false } | Kind::Name { closed: false } => {
                let why = format!("a quote is not closed: {text}");
                return Err(Error::new(ErrorKind::Syntax, why));
            }
            Kind::Text { .. } if text.starts_with('\'') => {
                let inner = unquote(&text[1..text.len() - 1]);
                current.get_or_insert_default().push_str(&inner);
            }
            Kind::Name { .. } if text.starts_with('"') => {
                let inner = text[1..text.len() - 1].replace("\"\"", "\"");
                current.get_or_insert_default().push_str(&inner);
            }
            Kind::Variable => {
                let replaced = variables.interpolate(&unplaced(text)).text;
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

/// The pause of `\watch`. psql's default is two seconds.
fn seconds(argument: Option<&str>) -> Result<Duration> {
    let written = argument.unwrap_or("2");
    let seconds = written.parse().ok();
    let pause = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    pause.ok_or_else(|| invalid(format!("\\watch takes a number of seconds, not {written}")))
}

/// Runs a command of the system; without one, its shell.
async fn run_system(command: &str) -> Result<()> {
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let mut process = std::process::Command::new(shell);
    if !command.is_empty() {
        process.arg("-c").arg(command);
    }
    let failed = |why: String| Error::new(ErrorKind::Io, why);
    let ran = tokio::task::spawn_blocking(move || process.status()).await;
    let status = match ran {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(failed(format!("the shell can't be started: {error}"))),
        Err(error) => return Err(failed(format!("the command was not run: {error}"))),
    };
    match status.success() {
        true => Ok(()),
        false => Err(failed(format!("the command failed: {status}"))),
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

/// The list that `\?` prints.
fn list_commands() -> String {
    let written = |command: &Command| format!("\\{} {}", command.name, command.arguments);
    let longest = COMMANDS.iter().map(|c| written(c).len()).max().unwrap_or(0);
    let lines = COMMANDS
        .iter()
        .map(|command| format!("  {:longest$}  {}", written(command), command.purpose));
    let lines: Vec<String> = lines.collect();
    format!(
        "SQL statements end with a semicolon. \\h explains them: try \\h COPY\n{}\n\
         Ctrl-C cancels the statement, not the program. Tab completes. Alt-Enter begins a line.",
        lines.join("\n")
    )
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
        assert_eq!(split("x 'one\\ntwo' 'a\\\\nb'"), ["x", "one\ntwo", "a\\nb"]);
        assert_eq!(split("\"a b\" \"c\""), ["a b", "c"]);
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
