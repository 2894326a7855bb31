//! Executes scripts and typed text.
//!
//! Invariant: items run in the order of the text, and each is scanned only after the item before it
//! has run. An error is printed once, with its location, and ends its script unless `ON_ERROR_STOP`
//! is off.

mod command;
mod condition;
mod execute;
mod help;
mod lexer;
mod report;
mod scanner;
mod variables;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use tidegate::{
    CancellationToken, Checked, DryRun, Error, ErrorKind, Execution, Location, Result,
    ScriptStatement, Session,
};

pub(crate) use self::command::COMMANDS;
pub(crate) use self::help::pages;
pub(crate) use self::lexer::{Kind, Lexer};
pub(crate) use self::report::Source;
pub(crate) use self::scanner::{Open, Scanner};
pub(crate) use self::variables::Variables;

use self::condition::{Conditions, is_condition};
use self::report::report;
use self::scanner::{Fragment, Item};
use crate::print::numbers::{counted, duration};
use crate::print::{self, Expanded, Format, Style, not_written};
use crate::progress_line::{ProgressLine, ShowProgress, summarize};

/// How deeply scripts may be nested. The limit stops scripts that include each other.
const DEEPEST: usize = 64;

/// How results are shown.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) format: Format,
    pub(crate) expanded: Expanded,
    pub(crate) timing: bool,
    pub(crate) quiet: bool,
    /// A person reads the results: they get a footer instead of a tag, and may be cut.
    pub(crate) interactive: bool,
    pub(crate) most_rows: Option<u64>,
    pub(crate) progress: ShowProgress,
}

/// Where results go.
#[derive(Debug)]
enum Output {
    Standard,
    File(PathBuf, BufWriter<File>),
}

/// How to continue after an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Go on.
    Continue,
    /// The script failed.
    Failed,
    /// A statement was cancelled: nothing that follows is executed.
    Cancelled,
    /// The user wants to leave.
    Quit,
}

/// Executes statements and commands.
#[derive(Debug)]
pub(crate) struct Shell {
    session: Session,
    /// Checks statements instead of executing them.
    dry_run: Option<DryRun>,
    pub(crate) variables: Variables,
    pub(crate) settings: Settings,
    output: Output,
    /// Cancels the current statement.
    interrupt: Interrupt,
    /// Whether anything has failed.
    failed: bool,
    depth: usize,
    /// The statement that `\g` executes again.
    last: Option<Fragment>,
    /// The conditions that are open in the current script.
    conditions: Conditions,
}

/// Cancels the statement that is being executed, and none that comes later.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    current: std::sync::Arc<std::sync::Mutex<CancellationToken>>,
}

impl Interrupt {
    /// Cancels the current statement.
    pub(crate) fn cancel(&self) {
        self.lock().cancel();
    }

    /// A token for the next statement.
    fn renew(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.lock() = token.clone();
        token
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, CancellationToken> {
        let current = self.current.lock();
        current.unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Shell {
    pub(crate) fn new(session: Session, dry_run: Option<DryRun>, settings: Settings) -> Self {
        Self {
            session,
            dry_run,
            variables: Variables::default(),
            settings,
            output: Output::Standard,
            interrupt: Interrupt::default(),
            failed: false,
            depth: 0,
            last: None,
            conditions: Conditions::default(),
        }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Whether a statement has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Runs a script to its end, or to its first error.
    ///
    /// # Errors
    /// Results can't be written, or an `\if` has no `\endif`.
    pub(crate) async fn run_script(&mut self, source: &Source) -> Result<Flow> {
        let outer = std::mem::take(&mut self.conditions);
        let flow = self.run_items(source).await;
        let is_closed = std::mem::replace(&mut self.conditions, outer).are_closed();
        match flow {
            Ok(Flow::Continue) if !is_closed => {
                Err(Error::new(ErrorKind::Syntax, "an \\if has no \\endif"))
            }
            flow => flow,
        }
    }

    async fn run_items(&mut self, source: &Source) -> Result<Flow> {
        let mut scanner = Scanner::new(source.text());
        while let Some(flow) = self.run_next(source, &mut scanner).await? {
            if flow != Flow::Continue {
                return Ok(flow);
            }
        }
        // The last statement needs no semicolon.
        match scanner.end_statement() {
            Some(statement) if self.conditions.are_true() => {
                self.run_statement(source, &statement).await
            }
            _ => Ok(Flow::Continue),
        }
    }

    /// Runs the next complete item. None if there is none.
    ///
    /// # Errors
    /// Results can't be written.
    pub(crate) async fn run_next(
        &mut self,
        source: &Source,
        scanner: &mut Scanner<'_>,
    ) -> Result<Option<Flow>> {
        let flow = match scanner.next_complete() {
            None => return Ok(None),
            Some(Item::Statement(_)) if !self.conditions.are_true() => Flow::Continue,
            Some(Item::Statement(statement)) => self.run_statement(source, &statement).await?,
            Some(Item::Command(written))
                if !self.conditions.are_true()
                    && !is_condition(command::name_of(&written.text)) =>
            {
                if command::ends_statement(&written.text) {
                    scanner.end_statement();
                }
                Flow::Continue
            }
            Some(Item::Command(written)) => {
                let statement = match command::ends_statement(&written.text) {
                    true => scanner.end_statement(),
                    false => None,
                };
                self.run_command(source, &written, statement).await?
            }
        };
        Ok(Some(flow))
    }

    /// Runs a script that another script includes. The other continues only if this one succeeds.
    async fn run_file(&mut self, path: &Path) -> Result<Flow> {
        if self.depth == DEEPEST {
            let why = format!("scripts are nested more than {DEEPEST} deep");
            return Err(Error::new(ErrorKind::InvalidParameter, why));
        }
        let token = self.interrupt.renew();
        let source = tokio::select! {
            source = Source::read(path) => source?,
            () = token.cancelled() => return Err(cancelled()),
        };
        self.depth += 1;
        let flow = Box::pin(self.run_script(&source)).await;
        self.depth -= 1;
        Ok(match flow? {
            // `\q` ends only the script that contains it.
            Flow::Quit => Flow::Continue,
            flow => flow,
        })
    }

    /// Runs the statements of a fragment: one, or several if the value of a variable contains more.
    async fn run_statement(&mut self, source: &Source, fragment: &Fragment) -> Result<Flow> {
        let statement = self.variables.interpolate(fragment);
        self.last = Some(fragment.clone());
        let mut done = self.execute_text(&statement.text).await;
        if let Err(error) = done {
            let error = error.at(Location { line: 1, column: 1 });
            done = Err(match self.variables.find_unset(&fragment.text) {
                Some(name) if error.hint().is_none() => error.with_hint(format!(
                    "the variable {name} is not set: -v {name}=value or \\set {name} value"
                )),
                _ => error,
            });
        }
        self.conclude(source, done, |place| statement.locate(place), fragment)
    }

    /// Executes the statements of a text. Locations in errors refer to this text.
    async fn execute_text(&mut self, sql: &str) -> Result<()> {
        let script = self.session.split_script(sql)?;
        for statement in script.statements {
            self.execute(statement).await?;
        }
        script.error.map_or(Ok(()), Err)
    }

    /// Prints an error and returns how its script continues.
    fn conclude(
        &mut self,
        source: &Source,
        done: Result<()>,
        locate: impl Fn(Location) -> Location,
        written: &Fragment,
    ) -> Result<Flow> {
        match done {
            Ok(()) => Ok(Flow::Continue),
            Err(error) if print::is_broken_pipe(&error) => Err(error),
            Err(error) => {
                report(source, &error, locate, written);
                self.failed = true;
                Ok(match self.variables.stop_on_error() {
                    _ if error.kind() == ErrorKind::Cancelled => Flow::Cancelled,
                    true => Flow::Failed,
                    false => Flow::Continue,
                })
            }
        }
    }

    async fn execute(&mut self, statement: ScriptStatement) -> Result<()> {
        let started = Instant::now();
        let token = self.interrupt.renew();
        let location = statement.location();
        if let Some(dry_run) = &self.dry_run {
            let checked = tokio::select! {
                checked = dry_run.check(statement) => checked?,
                () = token.cancelled() => return Err(cancelled().at(location)),
            };
            return self.print_checked(&checked);
        }
        let execution = tokio::select! {
            started = self.session.start_statement(statement) => started?,
            () = token.cancelled() => return Err(cancelled().at(location)),
        };
        let mut execution = execution.cancelled_by(token);
        let mut line = ProgressLine::start(self.settings.progress, execution.progress());
        if execution.returns_lines() {
            line.stop();
            // The lines must be the only output.
            return print::print_lines(&mut execution, &mut *self.output.writer()).await;
        }
        let returns_rows = execution.returns_rows();
        let mut shown = None;
        if returns_rows {
            let style = self.style();
            let out = &mut *self.output.writer();
            let rows = print::print_rows(&mut execution, &style, out, || line.stop()).await?;
            shown = Some(rows);
        } else {
            while execution.try_next().await?.is_some() {}
        }
        line.stop();
        self.print_footer(&execution, shown, started.elapsed())
    }

    fn style(&self) -> Style {
        let terminal = match &self.output {
            Output::Standard => print::terminal_size(std::io::stdout()),
            Output::File(..) => None,
        };
        Style {
            format: self.settings.format,
            expanded: self.settings.expanded,
            width: terminal.map(|(_, columns)| columns),
            most_rows: self.settings.most_rows.filter(|_| terminal.is_some()),
        }
    }

    /// Prints the footer below the rows, or in place of them.
    fn print_footer(
        &mut self,
        execution: &Execution,
        shown: Option<print::Shown>,
        elapsed: Duration,
    ) -> Result<()> {
        let report = execution.export_report();
        for notice in execution.notices() {
            print::complain(&format!("notice: {notice}"));
        }
        let has_summary = report.is_some() && std::io::IsTerminal::is_terminal(&std::io::stderr());
        if let (Some(report), true, false) = (&report, has_summary, self.settings.quiet) {
            print::complain(&summarize(report, elapsed));
        }
        let settings = &self.settings;
        let is_for_programs = settings.format.is_data();
        if settings.quiet || is_for_programs || (settings.interactive && has_summary) {
            return Ok(());
        }
        let timing = settings.timing.then(|| duration(elapsed));
        let and_timing = timing
            .as_ref()
            .map_or(String::new(), |timing| format!(" · {timing}"));
        let footer = match (settings.interactive, shown, timing) {
            (true, Some(shown), _) => {
                let rows = counted(shown.rows, "row");
                match shown.has_more {
                    true => {
                        format!("(the first {rows}; there are more: \\maxrows all shows every row)")
                    }
                    false => format!("({rows}{and_timing})"),
                }
            }
            (true, None, _) => format!("{}{and_timing}", execution.tag()),
            (false, _, Some(timing)) => format!("{}\nTime: {timing}", execution.tag()),
            (false, _, None) => execution.tag(),
        };
        self.print(&footer)
    }

    fn print_checked(&mut self, checked: &Checked) -> Result<()> {
        if self.settings.quiet || self.settings.format.is_data() {
            return Ok(());
        }
        self.print(&checked.to_string())
    }

    /// Prints a line among the results.
    fn print(&mut self, text: &str) -> Result<()> {
        let mut out = self.output.writer();
        writeln!(out, "{text}")
            .and_then(|()| out.flush())
            .map_err(not_written)
    }

    /// Sends further results to a file, or to standard output if `path` is none.
    fn redirect(&mut self, path: Option<&Path>) -> Result<()> {
        let before = std::mem::replace(&mut self.output, Output::Standard);
        if let Output::File(path, mut file) = before {
            file.flush().map_err(|error| not_opened(&path, &error))?;
        }
        if let Some(path) = path.filter(|_| self.dry_run.is_none()) {
            let file = File::create(path).map_err(|error| not_opened(path, &error))?;
            self.output = Output::File(path.to_owned(), BufWriter::new(file));
        }
        Ok(())
    }
}

impl Output {
    fn writer(&mut self) -> Box<dyn Write + Send + '_> {
        match self {
            Self::Standard => Box::new(BufWriter::new(std::io::stdout())),
            Self::File(_, file) => Box::new(file),
        }
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the statement was cancelled")
}

fn not_opened(path: &Path, error: &std::io::Error) -> Error {
    let why = format!("can't write {}: {error}", path.display());
    Error::new(ErrorKind::InvalidParameter, why)
}
