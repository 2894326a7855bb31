//! A guard that cancels an export.
//!
//! Invariant: if guarded work is dropped or fails before [`CancelOnDrop::disarm`], its export is
//! cancelled.

use std::sync::Arc;

use super::Export;

/// Cancels the export on drop, unless [`Self::disarm`] was called.
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

    /// Ends the guard without cancelling: the work is done.
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
