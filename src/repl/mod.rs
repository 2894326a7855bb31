//! The shell that a person types into.
//!
//! Invariant: whatever was typed is executed or still on the screen; an error or Ctrl-C ends a
//! statement, never the program. A line that may hold a secret is not kept.

mod complete;
mod editor;
mod highlight;
mod history;

use std::path::PathBuf;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use tidegate::{Error, ErrorKind, Result};
use tokio::runtime::Handle;

use self::editor::Editor;
use self::history::History;
use crate::print::complain;
use crate::shell::{Flow, Open, Scanner, Shell, Source};

/// The terminal, which is given back as it was.
pub(crate) struct Terminal {
    before: Option<Termios>,
}

impl Terminal {
    /// Takes the terminal. Ctrl-C is not echoed from here on: that would push the line which says how
    /// far a statement has come out of its place.
    pub(crate) fn take() -> Self {
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(mut own) = before.clone() {
            own.local_modes.remove(LocalModes::ECHOCTL);
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &own);
        }
        Self { before }
    }

    /// Ends the editor's own settings, for a program that is ended while it waits for input.
    pub(crate) fn interrupt_editor(&self) {
        // The editor had asked the terminal to mark what is pasted.
        complain("\x1b[?2004l");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Reads and executes until the user leaves. The terminal is waited for in a thread of its own, so that
/// the program still hears signals.
///
/// # Errors
/// The terminal can't be used, or results can't be written.
pub(crate) async fn run(shell: Shell, colors: bool, history: Option<PathBuf>) -> Result<()> {
    let runtime = Handle::current();
    let (done, ended) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("terminal".to_owned());
    thread
        .spawn(move || {
            let result = Repl::new(shell, runtime, colors, history).and_then(Repl::run);
            let _ = done.send(result);
        })
        .map_err(|error| not_usable(error.into()))?;
    ended.await.unwrap_or_else(|_| {
        let why = "the thread that reads the terminal died";
        Err(Error::new(ErrorKind::Internal, why))
    })
}

fn not_usable(error: ReadlineError) -> Error {
    Error::new(
        ErrorKind::Io,
        format!("the terminal can't be used: {error}"),
    )
    .with_source(error)
}

/// What people type in other shells, as a command of this one.
fn as_command(line: &str) -> &str {
    match line.trim() {
        "help" => "\\?",
        "exit" | "quit" => "\\q",
        _ => line,
    }
}

struct Repl {
    shell: Shell,
    runtime: Handle,
    editor: Editor,
    history: History,
    /// What was typed and has no end yet.
    unfinished: String,
}

impl Repl {
    fn new(shell: Shell, runtime: Handle, colors: bool, history: Option<PathBuf>) -> Result<Self> {
        let mut editor = Editor::new(shell.session().clone(), runtime.clone(), colors)?;
        Ok(Self {
            history: History::open(history, &mut editor),
            editor,
            shell,
            runtime,
            unfinished: String::new(),
        })
    }

    fn run(mut self) -> Result<()> {
        if !self.shell.settings.quiet {
            let version = env!("CARGO_PKG_VERSION");
            println!("tidegate {version}. \\? for help, \\h COPY for exports, \\q to leave");
        }
        loop {
            let typed = self.editor.read(&self.prompt(), &self.unfinished);
            match typed {
                Ok(line) => {
                    self.unfinished.push_str(if self.unfinished.is_empty() {
                        as_command(&line)
                    } else {
                        &line
                    });
                    self.unfinished.push('\n');
                    if self.run_typed()? == Flow::Quit {
                        return Ok(());
                    }
                }
                // Ctrl-C: begin again.
                Err(ReadlineError::Interrupted) => self.unfinished.clear(),
                // Ctrl-D: what has no end is not executed.
                Err(ReadlineError::Eof) if self.unfinished.trim().is_empty() => return Ok(()),
                Err(ReadlineError::Eof) => self.unfinished.clear(),
                Err(error) => return Err(not_usable(error)),
            }
        }
    }

    /// Executes the complete items that have been typed and keeps the rest.
    fn run_typed(&mut self) -> Result<Flow> {
        let typed = std::mem::take(&mut self.unfinished);
        let source = Source::typed(typed.clone());
        let mut scanner = Scanner::new(&typed);
        let mut has_run = false;
        while let Some(flow) = self
            .runtime
            .block_on(self.shell.run_next(&source, &mut scanner))?
        {
            has_run = true;
            // As in psql, an error ends what was typed no more than it ends the shell; Ctrl-C does.
            if matches!(flow, Flow::Quit | Flow::Cancelled) {
                self.remember(&typed);
                return Ok(flow);
            }
        }
        match scanner.open() {
            Open::Nothing => {}
            _ => self.unfinished = scanner.rest(),
        }
        if has_run {
            self.remember(typed.strip_suffix(&self.unfinished).unwrap_or(&typed));
        }
        Ok(Flow::Continue)
    }

    fn remember(&mut self, typed: &str) {
        self.history.add(typed, &mut self.editor);
    }

    fn prompt(&self) -> String {
        if self.unfinished.trim().is_empty() {
            return "tidegate> ".to_owned();
        }
        let mut scanner = Scanner::new(&self.unfinished);
        while scanner.next_complete().is_some() {}
        let sign = match scanner.open() {
            Open::Nothing | Open::Statement => '-',
            Open::Parenthesis => '(',
            Open::Text => '\'',
            Open::Name => '"',
            Open::Comment => '*',
        };
        format!("       {sign}> ")
    }
}
