//! The line editor.
//!
//! Invariant: only this module uses rustyline, except for its error type.

use std::borrow::Cow;
use std::path::Path;

use rustyline::completion::{Completer, Pair};
use rustyline::config::{BellStyle, ColorMode};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::{FileHistory, History as _};
use rustyline::validate::Validator;
use rustyline::{Cmd, CompletionType, Config, Context, Helper, KeyEvent};
use tidegate::{Result, Session};
use tokio::runtime::Handle;

use super::complete::Completion;
use super::highlight::highlight;
use super::not_usable;

/// How many statements are remembered.
const MOST_REMEMBERED: usize = 10_000;

/// Longer texts, in bytes, are not coloured: they were pasted, and the line is redrawn at every
/// key.
const LONGEST_COLOURED: usize = 20_000;

/// Reads lines.
pub(super) struct Editor {
    editor: rustyline::Editor<Assistant, FileHistory>,
    colors: bool,
}

impl Editor {
    pub(super) fn new(session: Session, runtime: Handle, colors: bool) -> Result<Self> {
        let config = Config::builder()
            .auto_add_history(false)
            .bell_style(BellStyle::None)
            .color_mode(match colors {
                true => ColorMode::Enabled,
                false => ColorMode::Disabled,
            })
            .completion_type(CompletionType::List)
            .max_history_size(MOST_REMEMBERED)
            .map_err(not_usable)?
            .build();
        let mut editor = rustyline::Editor::with_config(config).map_err(not_usable)?;
        editor.set_helper(Some(Assistant {
            completion: Completion::new(session, runtime),
            before: String::new(),
            colors,
        }));
        editor.bind_sequence(KeyEvent::alt('\r'), Cmd::Newline);
        Ok(Self { editor, colors })
    }

    /// Reads a line that continues the lines in `before`.
    pub(super) fn read(&mut self, prompt: &str, before: &str) -> rustyline::Result<String> {
        if let Some(assistant) = self.editor.helper_mut() {
            before.clone_into(&mut assistant.before);
        }
        let styled = match self.colors {
            true => format!("\x1b[1;36m{prompt}\x1b[0m"),
            false => prompt.to_owned(),
        };
        self.editor.readline(&(prompt, styled.as_str()))
    }

    /// Loads the history from a file. A file that can't be read counts as empty.
    pub(super) fn load_history(&mut self, path: &Path) {
        let _ = self.editor.load_history(path);
    }

    /// Adds to the history, and appends to its file if there is one. Other programs may append to
    /// the file at the same time.
    pub(super) fn remember(&mut self, typed: &str, path: Option<&Path>) {
        let added = self.editor.add_history_entry(typed).unwrap_or(false);
        if let (Some(path), true) = (path, added)
            && let Err(error) = self.editor.history_mut().append(path)
        {
            tracing::warn!(%error, "the history was not written");
        }
    }
}

impl std::fmt::Debug for Editor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Editor").finish_non_exhaustive()
    }
}

/// Completes and colours while the user types.
struct Assistant {
    completion: Completion,
    /// The lines before the one that is being typed.
    before: String,
    colors: bool,
}

impl Helper for Assistant {}
impl Validator for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> Result<(usize, Vec<Pair>), ReadlineError> {
        let whole = format!("{}{line}", self.before);
        let cursor = self.before.len() + position;
        let (start, candidates) = self.completion.complete(&whole, cursor);
        let Some(start) = start.checked_sub(self.before.len()) else {
            return Ok((position, Vec::new()));
        };
        let pairs = candidates.into_iter().map(|candidate| Pair {
            display: candidate.trim_end().to_owned(),
            replacement: candidate,
        });
        Ok((start, pairs.collect()))
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _position: usize) -> Cow<'l, str> {
        match self.colors && line.len() <= LONGEST_COLOURED {
            true => Cow::Owned(highlight(line)),
            false => Cow::Borrowed(line),
        }
    }

    fn highlight_char(&self, line: &str, _position: usize, kind: CmdKind) -> bool {
        self.colors && kind != CmdKind::MoveCursor && line.len() <= LONGEST_COLOURED
    }
}
