//! Notices: what the user of a statement should know although it succeeds.
//!
//! Invariant: a notice belongs to the statement whose future adds it.

use std::cell::RefCell;
use std::future::Future;

tokio::task_local! {
    static NOTICES: RefCell<Vec<String>>;
}

/// Runs the work of a statement. Returns its output and the notices that it has added.
pub async fn with_notices<F: Future>(work: F) -> (F::Output, Vec<String>) {
    let notices = RefCell::new(Vec::new());
    let scope = NOTICES.scope(notices, async {
        let output = work.await;
        (output, NOTICES.with(RefCell::take))
    });
    scope.await
}

/// Adds a notice, a sentence without a full stop, unless the statement has it already. Does nothing if
/// no statement collects notices.
pub fn add_notice(notice: String) {
    let _ = NOTICES.try_with(|notices| {
        let mut notices = notices.borrow_mut();
        if !notices.contains(&notice) {
            notices.push(notice);
        }
    });
}
