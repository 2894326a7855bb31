//! Tables.
//!
//! Invariant: on a terminal, lines are no wider than the terminal, unless two columns do not fit or
//! a number is wider than those measured. Texts that do not fit are cut with an ellipsis, and a
//! note below the table tells how many columns are shown. Without a terminal nothing is cut or left
//! out.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidegate::Result;

use super::cells::{cells, cut, headers, is_number, width};
use super::vertical::Vertical;
use super::{Expanded, Out, Printer, Style, not_written};

/// The column widths are fixed once this many rows have been measured.
const ROWS_MEASURED: usize = 10_000;

/// A column of text is not made narrower than this, in columns of the terminal.
const NARROWEST: usize = 8;

/// The width of a cell beside its text: a blank on either side and a line.
const AROUND_CELL: usize = 3;

/// A table with lines around it.
pub(super) struct Table {
    schema: SchemaRef,
    headers: Vec<String>,
    terminal: Option<usize>,
    auto_expand: bool,
    /// Rows that wait until the widths are known.
    waiting: Vec<RecordBatch>,
    rows_waiting: usize,
    state: State,
}

enum State {
    /// The widths are not known yet.
    Measuring,
    /// The table's columns.
    Tabular(Vec<Column>),
    /// The table is too wide for the terminal: a line for each value.
    Expanded(Vertical),
}

/// A column of the table.
#[derive(Debug, Clone)]
struct Column {
    /// The column of the result. None for the gap that stands for columns that are left out.
    source: Option<usize>,
    width: usize,
    at_right: bool,
}

impl Column {
    /// The column with at most this width, unless it holds numbers.
    fn limited(&self, limit: usize) -> Self {
        match self.at_right {
            true => self.clone(),
            false => Self {
                width: self.width.min(limit),
                ..self.clone()
            },
        }
    }
}

impl Table {
    pub(super) fn new(schema: SchemaRef, style: &Style) -> Self {
        Self {
            headers: headers(&schema),
            schema,
            terminal: style.width,
            auto_expand: style.expanded == Expanded::Auto,
            waiting: Vec::new(),
            rows_waiting: 0,
            state: State::Measuring,
        }
    }

    fn begin(&mut self, out: Out<'_>) -> Result<()> {
        if !matches!(self.state, State::Measuring) {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let rows: Vec<Vec<Vec<String>>> = waiting.iter().map(cells).collect::<Result<_>>()?;
        let natural = self.natural_columns(rows.iter().flatten());
        let fits = self
            .terminal
            .is_none_or(|most| table_width(&natural) <= most);
        if !fits && self.auto_expand {
            let vertical = Vertical::new(SchemaRef::clone(&self.schema), self.terminal);
            self.state = State::Expanded(vertical);
        } else {
            let columns = fit(natural, self.terminal);
            let headers = cells_of(&columns, &self.headers);
            write_rule(&columns, out)?;
            write_row(&columns, &headers, self.terminal.is_some(), out)?;
            write_rule(&columns, out)?;
            self.state = State::Tabular(columns);
        }
        for (batch, rows) in waiting.iter().zip(rows) {
            self.write(batch, Some(rows), out)?;
        }
        Ok(())
    }

    fn natural_columns<'a>(&self, rows: impl Iterator<Item = &'a Vec<String>>) -> Vec<Column> {
        let fields = self.schema.fields().iter().enumerate();
        let mut columns: Vec<Column> = fields
            .map(|(source, field)| Column {
                source: Some(source),
                width: text_width(&self.headers[source]),
                at_right: is_number(field.data_type()),
            })
            .collect();
        for row in rows {
            for (column, cell) in columns.iter_mut().zip(row) {
                column.width = column.width.max(text_width(cell));
            }
        }
        columns
    }

    fn write(
        &mut self,
        batch: &RecordBatch,
        rows: Option<Vec<Vec<String>>>,
        out: Out<'_>,
    ) -> Result<()> {
        match &mut self.state {
            State::Measuring => Ok(()),
            State::Expanded(vertical) => vertical.rows(batch, out),
            State::Tabular(columns) => {
                let rows = match rows {
                    Some(rows) => rows,
                    None => cells(batch)?,
                };
                for row in &rows {
                    write_row(
                        columns,
                        &cells_of(columns, row),
                        self.terminal.is_some(),
                        out,
                    )?;
                }
                Ok(())
            }
        }
    }
}

impl Printer for Table {
    fn rows(&mut self, batch: &RecordBatch, out: Out<'_>) -> Result<()> {
        if matches!(self.state, State::Measuring) {
            self.rows_waiting += batch.num_rows();
            self.waiting.push(batch.clone());
            if self.rows_waiting < ROWS_MEASURED {
                return Ok(());
            }
            return self.begin(out);
        }
        self.write(batch, None, out)
    }

    fn end(&mut self, out: Out<'_>) -> Result<()> {
        self.begin(out)?;
        let State::Tabular(columns) = &self.state else {
            return Ok(());
        };
        write_rule(columns, out)?;
        let shown = columns.iter().filter(|column| column.source.is_some());
        let (shown, all) = (shown.count(), self.headers.len());
        if shown < all {
            let note = format!("({shown} of {all} columns fit here; \\x shows all of them)");
            writeln!(out, "{note}").map_err(not_written)?;
        }
        Ok(())
    }
}

/// The width of the widest line of a cell.
fn text_width(cell: &str) -> usize {
    cell.split('\n').map(width).max().unwrap_or(0)
}

fn table_width(columns: &[Column]) -> usize {
    let cells = columns.iter().map(|column| column.width + AROUND_CELL);
    cells.sum::<usize>() + 1
}

/// Makes the columns fit: the widest texts are made narrower, then columns in the middle are
/// left out.
fn fit(mut columns: Vec<Column>, terminal: Option<usize>) -> Vec<Column> {
    let Some(most) = terminal else {
        return columns;
    };
    let widest = columns.iter().map(|column| column.width).max();
    // The largest width limit for texts with which the table fits.
    let fitting = (NARROWEST..=widest.unwrap_or(0)).rev().find(|limit| {
        let limited = columns.iter().map(|column| column.limited(*limit));
        table_width(&limited.collect::<Vec<_>>()) <= most
    });
    for column in &mut columns {
        *column = column.limited(fitting.unwrap_or(NARROWEST));
    }
    let left_out = Column {
        source: None,
        width: 1,
        at_right: false,
    };
    while table_width(&columns) > most && columns.len() > 2 {
        let middle = columns.len() / 2;
        match columns.iter().position(|column| column.source.is_none()) {
            None => columns[middle] = left_out.clone(),
            // Keeps as many columns after the gap as before it, or one less.
            Some(gap) if columns.len() - gap > gap => drop(columns.remove(gap + 1)),
            Some(gap) => drop(columns.remove(gap - 1)),
        }
    }
    columns
}

fn cells_of<'a>(columns: &[Column], row: &'a [String]) -> Vec<&'a str> {
    let cell = |column: &Column| match column.source {
        Some(source) => row[source].as_str(),
        None => "…",
    };
    columns.iter().map(cell).collect()
}

fn write_rule(columns: &[Column], out: Out<'_>) -> Result<()> {
    let mut line = String::from("+");
    for column in columns {
        line.push_str(&"-".repeat(column.width + 2));
        line.push('+');
    }
    line.push('\n');
    out.write_all(line.as_bytes()).map_err(not_written)
}

/// Writes a row. If `cuts` is set, texts that are too wide are cut. Other cells that are too wide
/// make their line wider.
fn write_row(columns: &[Column], row: &[&str], cuts: bool, out: Out<'_>) -> Result<()> {
    let height = row.iter().map(|cell| cell.split('\n').count()).max();
    let mut text = String::new();
    for line in 0..height.unwrap_or(1) {
        text.push('|');
        for (column, cell) in columns.iter().zip(row) {
            let cell = cell.split('\n').nth(line).unwrap_or_default();
            // A number that was cut would be a wrong number.
            let cell = match cuts && !column.at_right {
                true => cut(cell, column.width),
                false => cell.to_owned(),
            };
            let pad = " ".repeat(column.width.saturating_sub(width(&cell)));
            let (before, after) = match column.at_right {
                true => (pad.as_str(), ""),
                false => ("", pad.as_str()),
            };
            text.push_str(&format!(" {before}{cell}{after} |"));
        }
        text.push('\n');
    }
    out.write_all(text.as_bytes()).map_err(not_written)
}

/// A Markdown table. Its columns are not aligned, so that rows can be printed as they arrive.
pub(super) struct Markdown {
    schema: SchemaRef,
    begun: bool,
}

impl Markdown {
    pub(super) fn new(schema: SchemaRef) -> Self {
        let begun = false;
        Self { schema, begun }
    }

    fn begin(&mut self, out: Out<'_>) -> Result<()> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        write_markdown(&headers(&self.schema), out)?;
        let fields = self.schema.fields().iter();
        let rule = fields.map(|field| match is_number(field.data_type()) {
            true => "---:".to_owned(),
            false => "---".to_owned(),
        });
        write_markdown(&rule.collect::<Vec<_>>(), out)
    }
}

fn write_markdown(row: &[String], out: Out<'_>) -> Result<()> {
    let cell = |cell: &String| {
        cell.replace('\\', "\\\\")
            .replace('|', "\\|")
            .replace('\n', "<br>")
    };
    let cells: Vec<String> = row.iter().map(cell).collect();
    writeln!(out, "| {} |", cells.join(" | ")).map_err(not_written)
}

impl Printer for Markdown {
    fn rows(&mut self, batch: &RecordBatch, out: Out<'_>) -> Result<()> {
        self.begin(out)?;
        for row in cells(batch)? {
            write_markdown(&row, out)?;
        }
        Ok(())
    }

    fn end(&mut self, out: Out<'_>) -> Result<()> {
        self.begin(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: usize, width: usize) -> Column {
        let at_right = false;
        Column {
            source: Some(source),
            width,
            at_right,
        }
    }

    #[test]
    fn the_widest_columns_are_made_narrower_first() {
        let columns = fit(vec![text(0, 5), text(1, 60), text(2, 50)], Some(81));
        assert_eq!(table_width(&columns), 81);
        assert_eq!(columns[0].width, 5);
        assert!(
            columns[1].width.abs_diff(columns[2].width) <= 1,
            "{columns:?}"
        );
    }

    #[test]
    fn columns_in_the_middle_are_left_out() {
        let many = (0..30).map(|source| text(source, 8)).collect();
        let columns = fit(many, Some(80));
        assert!(table_width(&columns) <= 80);
        assert_eq!(columns[0].source, Some(0));
        assert_eq!(columns.last().unwrap().source, Some(29));
        let gap = columns.iter().filter(|column| column.source.is_none());
        assert_eq!(gap.count(), 1);
    }

    #[test]
    fn a_terminal_of_one_column_is_survived() {
        let many: Vec<Column> = (0..5).map(|source| text(source, 20)).collect();
        assert!(fit(many, Some(1)).len() <= 3);
    }
}
