//! A line on the terminal that shows the progress of a statement.
//!
//! Invariant: the line is written to standard error, and on a terminal it is removed before
//! anything else is printed.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tidegate::{ExportReport, Progress, Snapshot};
use tokio::task::JoinHandle;

use crate::print::numbers::{bytes, count, counted, duration};
use crate::print::{complain, cut, terminal_size};

/// When progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ShowProgress {
    /// Where standard error is a terminal
    #[default]
    Auto,
    /// Also where it is not: a line every five seconds
    Always,
    /// Never
    Never,
}

/// Statements that end sooner show no progress.
const PATIENCE: Duration = Duration::from_millis(300);

/// How often the line is drawn on a terminal, and how often a line is written elsewhere.
const ON_TERMINAL: Duration = Duration::from_millis(100);
const INTO_FILE: Duration = Duration::from_secs(5);

/// The line, for as long as it is shown.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    /// None if standard error is no terminal, and once the line is removed. Drawing holds the lock.
    bar: Arc<Mutex<Option<ProgressBar>>>,
    drawing: Option<JoinHandle<()>>,
}

impl ProgressLine {
    /// Starts to show `progress`, after a short delay.
    pub(crate) fn start(show: ShowProgress, progress: &Progress) -> Self {
        let progress = progress.clone();
        let bar = Arc::default();
        let drawing = match (show, std::io::stderr().is_terminal()) {
            (ShowProgress::Never, _) | (ShowProgress::Auto, false) => None,
            (ShowProgress::Always, false) => Some(tokio::spawn(write_lines(progress))),
            (_, true) => {
                let hidden = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
                hidden.set_style(style());
                *lock(&bar) = Some(hidden);
                Some(tokio::spawn(draw(progress, Arc::clone(&bar))))
            }
        };
        Self { bar, drawing }
    }

    /// Removes the line.
    pub(crate) fn stop(&mut self) {
        if let Some(bar) = lock(&self.bar).take() {
            bar.finish_and_clear();
        }
        if let Some(drawing) = self.drawing.take() {
            drawing.abort();
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(bar: &Mutex<Option<ProgressBar>>) -> MutexGuard<'_, Option<ProgressBar>> {
    bar.lock().unwrap_or_else(PoisonError::into_inner)
}

fn style() -> ProgressStyle {
    // The template is valid. The fallback would only look different.
    ProgressStyle::with_template("{spinner} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

async fn draw(progress: Progress, bar: Arc<Mutex<Option<ProgressBar>>>) {
    tokio::time::sleep(PATIENCE).await;
    if let Some(bar) = &*lock(&bar) {
        bar.set_draw_target(ProgressDrawTarget::stderr());
    }
    let mut ticks = tokio::time::interval(ON_TERMINAL);
    while !progress.has_ended() {
        if let (Some(text), Some(bar)) = (describe(&progress.snapshot()), &*lock(&bar)) {
            bar.set_message(fitting(&text));
            bar.tick();
        }
        ticks.tick().await;
    }
}

/// The text, cut to the room beside the spinner.
fn fitting(text: &str) -> String {
    const ROOM: usize = 4;
    match terminal_size(std::io::stderr()) {
        Some((_, columns)) => cut(text, columns.saturating_sub(ROOM)),
        None => text.to_owned(),
    }
}

async fn write_lines(progress: Progress) {
    let mut ticks = tokio::time::interval(INTO_FILE);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if progress.has_ended() {
            return;
        }
        if let Some(text) = describe(&progress.snapshot()) {
            complain(&text);
        }
    }
}

/// The text of the line. None if there is nothing to show.
fn describe(snapshot: &Snapshot) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(fraction) = snapshot.fraction() {
        // Rows that were read must still be processed, so 100 % is never shown.
        parts.push(format!("{:.0} %", (fraction * 100.0).min(99.0)));
    }
    match &snapshot.export {
        Some(export) => {
            parts.push(counted(export.rows, "row"));
            parts.push(bytes(export.bytes));
            parts.push(counted(export.files, "object"));
            parts.push(format!(
                "{} in flight",
                counted(export.parts_in_flight as u64, "part")
            ));
            parts.push(rate(export.bytes, snapshot.elapsed));
        }
        None if snapshot.rows_read == 0 => return None,
        None => match snapshot.rows_total {
            Some(total) => parts.push(format!(
                "{} of {} read",
                count(snapshot.rows_read),
                counted(total, "row")
            )),
            None => parts.push(format!("{} read", counted(snapshot.rows_read, "row"))),
        },
    }
    parts.push(duration(snapshot.elapsed));
    if let Some(left) = snapshot.time_left() {
        parts.push(format!("{} left", duration(left)));
    }
    Some(parts.join(" · "))
}

fn rate(transferred: u64, elapsed: Duration) -> String {
    let per_second = transferred as f64 / elapsed.as_secs_f64().max(0.001);
    format!("{}/s", bytes(per_second as u64))
}

/// A summary of an export in one line.
pub(crate) fn summarize(report: &ExportReport, elapsed: Duration) -> String {
    let mut parts = vec![
        format!("COPY {}", counted(report.rows, "row")),
        counted(report.files.len() as u64, "object"),
        bytes(report.bytes),
        duration(elapsed),
        rate(report.bytes, elapsed),
    ];
    if let Some(files) = report.moved {
        let moved = counted(files.moved as u64, "file");
        parts.push(format!("{moved} moved, {} encoded", files.encoded));
    }
    parts.join(" · ")
}
