//! Results as text.
//!
//! Invariant: rows are printed as they arrive, whatever the size of the result; a table waits for
//! its first 10,000 rows. NULL is visible, and control characters are printed as escapes in the
//! formats for people.

mod cells;
mod lines;
pub(crate) mod numbers;
mod table;
mod vertical;

use std::io::Write;
use std::os::fd::AsFd;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use clap::ValueEnum;
use futures::TryStreamExt;
use tidegate::{Error, ErrorKind, Execution, Outcome, Result, Unfinished};
use tidegate_extensions::format::{
    CopyTextFormat, CopyTextOptions, CsvFormat, CsvOptions, JsonFormat, JsonOptions,
};

pub(crate) use self::cells::{cells, cut, printable, width};
use self::lines::{JsonArray, Lines};
use self::table::{Markdown, Table};
use self::vertical::{Plans, Vertical};

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// A table with lines around it
    #[default]
    Table,
    /// Comma-separated values with a header
    Csv,
    /// Tab-separated values with a header, as PostgreSQL's COPY writes them
    Tsv,
    /// One JSON array
    Json,
    /// A JSON object on each line
    Ndjson,
    /// A Markdown table
    Markdown,
    /// A line for each value
    Vertical,
    /// No rows at all
    None,
}

impl Format {
    /// The name as `--format` takes it.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// Whether other programs read the output, so that it must hold nothing but rows.
    pub(crate) fn is_data(self) -> bool {
        !matches!(self, Self::Table | Self::Vertical | Self::None)
    }
}

/// Whether rows are printed as a line for each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Expanded {
    /// Never.
    #[default]
    Off,
    /// Always.
    On,
    /// Where a row is wider than the terminal.
    Auto,
}

/// How rows are printed, and how many.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    pub(crate) format: Format,
    pub(crate) expanded: Expanded,
    /// The terminal's width in columns. None if there is no terminal: tables are then as wide as
    /// their values.
    pub(crate) width: Option<usize>,
    /// The maximum number of rows to print.
    pub(crate) most_rows: Option<u64>,
}

/// How many rows were printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) rows: u64,
    /// Whether there are more rows, which were not printed.
    pub(crate) has_more: bool,
}

/// Where rows are printed to.
pub(crate) type Out<'a> = &'a mut (dyn Write + Send);

/// One way to print rows.
trait Printer: Send {
    /// Prints rows of the result's schema.
    fn rows(&mut self, batch: &RecordBatch, out: Out<'_>) -> Result<()>;

    /// Ends the output: there are no more rows.
    fn end(&mut self, out: Out<'_>) -> Result<()>;
}

fn printer(schema: &SchemaRef, style: &Style) -> Result<Box<dyn Printer>> {
    let schema = SchemaRef::clone(schema);
    Ok(match style.format {
        Format::Csv => {
            let mut options = CsvOptions::default();
            options.header = true;
            Box::new(Lines::new(CsvFormat::new(options), schema)?)
        }
        Format::Tsv => {
            let mut options = CopyTextOptions::default();
            options.header = true;
            Box::new(Lines::new(CopyTextFormat::new(options), schema)?)
        }
        Format::Ndjson => Box::new(Lines::new(JsonFormat::new(JsonOptions::default()), schema)?),
        Format::Json => Box::new(JsonArray::new(schema)?),
        Format::None => Box::new(Nothing),
        Format::Markdown => Box::new(Markdown::new(schema)),
        Format::Vertical => Box::new(Vertical::new(schema, style.width)),
        Format::Table if is_plan(&schema) => Box::new(Plans),
        Format::Table if style.expanded == Expanded::On => {
            Box::new(Vertical::new(schema, style.width))
        }
        Format::Table => Box::new(Table::new(schema, style)),
    })
}

/// Whether these are the rows of `EXPLAIN`, whose texts have several lines.
fn is_plan(schema: &SchemaRef) -> bool {
    let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    columns == ["plan_type", "plan"] && *schema.field(1).data_type() == DataType::Utf8
}

/// Prints the rows of a statement as they arrive. `before_rows` is called before each batch is
/// printed and once at the end.
///
/// # Errors
/// The statement failed, a value can't be printed in this format, or `out` can't be written.
pub(crate) async fn print_rows(
    execution: &mut Execution,
    style: &Style,
    out: Out<'_>,
    mut before_rows: impl FnMut(),
) -> Result<Shown> {
    let mut printer = printer(execution.schema(), style)?;
    let mut shown = Shown {
        rows: 0,
        has_more: false,
    };
    let most = style.most_rows.unwrap_or(u64::MAX);
    while let Some(batch) = execution.try_next().await? {
        before_rows();
        let left = usize::try_from(most - shown.rows).unwrap_or(usize::MAX);
        let rows = batch.num_rows().min(left);
        printer.rows(&batch.slice(0, rows), out)?;
        shown.rows += rows as u64;
        if rows < batch.num_rows() {
            shown.has_more = true;
            break;
        }
    }
    before_rows();
    printer.end(out)?;
    out.flush().map_err(not_written)?;
    Ok(shown)
}

/// Writes the lines of a `COPY … TO STDOUT`.
///
/// # Errors
/// The statement failed, or `out` can't be written.
pub(crate) async fn print_lines(execution: &mut Execution, out: Out<'_>) -> Result<()> {
    while let Some(lines) = execution.next_lines().await? {
        for text in lines.iter().flatten() {
            out.write_all(text).map_err(not_written)?;
        }
    }
    out.flush().map_err(not_written)
}

/// Prints the rows of a statement that has ended.
///
/// # Errors
/// As for [`print_rows`].
pub(crate) fn print_outcome(outcome: &Outcome, style: &Style, out: Out<'_>) -> Result<()> {
    let mut printer = printer(outcome.schema(), style)?;
    for batch in outcome.batches() {
        printer.rows(batch, out)?;
    }
    printer.end(out)
}

/// Prints no rows.
struct Nothing;

impl Printer for Nothing {
    fn rows(&mut self, _batch: &RecordBatch, _out: Out<'_>) -> Result<()> {
        Ok(())
    }

    fn end(&mut self, _out: Out<'_>) -> Result<()> {
        Ok(())
    }
}

/// Writes a text to standard output.
///
/// # Errors
/// [`ErrorKind::Io`] if standard output can't be written.
pub(crate) fn write_out(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(not_written)
}

/// The error for a result that can't be written.
pub(crate) fn not_written(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("can't write the result: {error}")).with_source(error)
}

/// Whether the reader of the results has gone away, so that there is no point in continuing.
pub(crate) fn is_broken_pipe(error: &Error) -> bool {
    error.kind() == ErrorKind::Io
        && std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<std::io::Error>())
            .is_some_and(|source| source.kind() == std::io::ErrorKind::BrokenPipe)
}

fn not_printed(error: arrow::error::ArrowError) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the result can't be printed: {error}"),
    )
    .with_source(error)
}

/// The lines and columns of a terminal; none if it is no terminal.
pub(crate) fn terminal_size(file: impl AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(file).ok()?;
    let size = (usize::from(size.ws_row), usize::from(size.ws_col));
    Some(size).filter(|(_, columns)| *columns > 0)
}

/// Writes a line to standard error. An error is ignored: there is nowhere to report it.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The maximum number of leftovers that are listed.
const NAMED: usize = 10;

/// Prints the leftovers of a cancelled export, if the store did not confirm in time that they are
/// gone.
pub(crate) fn unfinished(export: &Unfinished) {
    complain(&format!(
        "the store did not confirm that everything of the export to {} was removed",
        export.target
    ));
    for leftover in export.leftovers.iter().take(NAMED) {
        complain(&format!("left: {leftover}"));
    }
    if export.leftovers.len() > NAMED {
        complain(&format!("and {} more", export.leftovers.len() - NAMED));
    }
    complain(&format!("hint: {}", export.recover));
}
