//! A line for each value, and the texts of `EXPLAIN`.
//!
//! Invariant: nothing is cut.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use tidegate::Result;

use super::cells::{cells, headers, printable, width};
use super::{Out, Printer, not_written};

/// Rows one below the other, each value with its column's name, as psql's `\x` prints them.
pub(super) struct Vertical {
    names: Vec<String>,
    indent: usize,
    rule: usize,
    row: u64,
}

/// The maximum width of the line above each row.
const LONGEST_RULE: usize = 80;

impl Vertical {
    pub(super) fn new(schema: SchemaRef, terminal: Option<usize>) -> Self {
        let names = headers(&schema);
        Self {
            indent: names.iter().map(|name| width(name)).max().unwrap_or(0),
            rule: terminal.unwrap_or(LONGEST_RULE).min(LONGEST_RULE),
            names,
            row: 0,
        }
    }
}

impl Printer for Vertical {
    fn rows(&mut self, batch: &RecordBatch, out: Out<'_>) -> Result<()> {
        for row in cells(batch)? {
            self.row += 1;
            let title = format!("-[ row {} ]", self.row);
            let rule = "-".repeat(self.rule.saturating_sub(title.len()));
            writeln!(out, "{title}{rule}").map_err(not_written)?;
            for (name, cell) in self.names.iter().zip(row) {
                let pad = " ".repeat(self.indent - width(name));
                let hang = format!("\n{} | ", " ".repeat(self.indent));
                let cell = cell.replace('\n', &hang);
                writeln!(out, "{name}{pad} | {cell}").map_err(not_written)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, _out: Out<'_>) -> Result<()> {
        Ok(())
    }
}

/// The plans of `EXPLAIN`, as they are.
pub(super) struct Plans;

impl Printer for Plans {
    fn rows(&mut self, batch: &RecordBatch, out: Out<'_>) -> Result<()> {
        let text = |column| batch.column(column).as_string_opt::<i32>();
        let (Some(types), Some(plans)) = (text(0), text(1)) else {
            return Ok(());
        };
        for (name, plan) in types.iter().zip(plans) {
            let plan = printable(plan.unwrap_or_default().to_owned());
            let name = printable(name.unwrap_or_default().to_owned());
            writeln!(out, "{name}\n{}", plan.trim_end()).map_err(not_written)?;
        }
        Ok(())
    }

    fn end(&mut self, _out: Out<'_>) -> Result<()> {
        Ok(())
    }
}
