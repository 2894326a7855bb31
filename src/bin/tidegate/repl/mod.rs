//! The interactive shell.
//!
//! Invariant: typed text is either executed or still on the screen. An error or Ctrl-C ends a
//! statement, never the program. A text that may hold a secret is not kept in the history.

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

/// The terminal. Its settings are restored when this is dropped.
pub(crate) struct Terminal {
    before: Option<Termios>,
}

impl Terminal {
    /// Remembers the settings of the terminal and turns off the echo of Ctrl-C, which would
    /// displace the progress line.
    pub(crate) fn take() -> Self {
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(mut own) = before.clone() {
            own.local_modes.remove(LocalModes::ECHOCTL);
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &own);
        }
        Self { before }
    }

    /// Undoes the editor's terminal settings, for a program that ends while it waits for input.
    pub(crate) fn interrupt_editor(&self) {
        // This turns off the marking of pasted text, which the editor had turned on.
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

/// Reads and executes until the user leaves. A separate thread waits for the terminal, so that the
/// caller can still react to signals.
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

/// Translates words that leave other shells, or ask them for help, to commands of this shell.
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
    /// Typed text that is not complete yet.
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
                // Ctrl-C discards the typed text.
                Err(ReadlineError::Interrupted) => self.unfinished.clear(),
                // Ctrl-D leaves the shell, or discards text that is not complete.
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
            // As in psql, the rest of the typed text is executed after an error, but not after
            // Ctrl-C.
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
