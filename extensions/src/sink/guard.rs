//! Work that must come to its end.
//!
//! Invariant: an export whose work was dropped, or failed, before its end is cancelled.

use std::sync::Arc;

use super::export::Export;

/// Cancels the export unless the work it guards came to its end.
#[derive(Debug)]
pub struct CancelOnDrop {
    export: Arc<Export>,
    armed: bool,
}

impl CancelOnDrop {
    /// Guards work on `export`.
    pub fn new(export: Arc<Export>) -> Self {
        Self {
            export,
            armed: true,
        }
    }

    /// The work is done.
    pub fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if self.armed {
            self.export.cancel();
        }
    }
}
