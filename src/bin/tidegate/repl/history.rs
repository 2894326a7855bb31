//! The history of typed statements.
//!
//! Invariant: the file never holds a text that may hold a secret. A file that is created here can
//! be read only by its owner.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tidegate_extensions::sql::may_hold_secret;

use super::editor::Editor;
use crate::print::complain;

/// The history, and the file that keeps it.
#[derive(Debug)]
pub(super) struct History {
    path: Option<PathBuf>,
}

impl History {
    /// Loads the statements of earlier runs into the editor.
    pub(super) fn open(path: Option<PathBuf>, editor: &mut Editor) -> Self {
        let path = path.filter(|path| match make_private(path) {
            Ok(()) => true,
            Err(error) => {
                complain(&format!(
                    "no history is kept in {}: {error}",
                    path.display()
                ));
                false
            }
        });
        if let Some(path) = &path {
            editor.load_history(path);
        }
        Self { path }
    }

    /// Adds a typed text to the history, unless it may hold a secret.
    pub(super) fn add(&mut self, typed: &str, editor: &mut Editor) {
        let typed = typed.trim();
        // A variable's value may be meant for a secret.
        if typed.is_empty() || may_hold_secret(typed) || typed.contains("\\set ") {
            return;
        }
        editor.remember(typed, self.path.as_deref());
    }
}

/// Creates the file if there is none, for its owner only.
fn make_private(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    options.open(path).map(drop)
}
