//! Rows for other programs, in the formats of `COPY … TO STDOUT`.
//!
//! Invariant: the output is only rows, after a header if the format has one.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidegate::Result;
use tidegate_extensions::format::{JsonFormat, JsonOptions, LineFormat};

use super::{Out, Printer, not_written};

/// Rows as lines of a format.
pub(super) struct Lines<F> {
    format: F,
    schema: SchemaRef,
    begun: bool,
}

impl<F: LineFormat> Lines<F> {
    pub(super) fn new(format: F, schema: SchemaRef) -> Result<Self> {
        format.check_columns(&schema)?;
        let begun = false;
        Ok(Self {
            format,
            schema,
            begun,
        })
    }

    fn begin(&mut self, out: Out<'_>) -> Result<()> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        let mut header = Vec::new();
        self.format.push_header(&self.schema, &mut header);
        out.write_all(&header).map_err(not_written)
    }
}

impl<F: LineFormat> Printer for Lines<F> {
    fn rows(&mut self, batch: &RecordBatch, out: Out<'_>) -> Result<()> {
        self.begin(out)?;
        self.format
            .format_rows(batch, &mut |text| out.write_all(text).map_err(not_written))
            .map(drop)
    }

    fn end(&mut self, out: Out<'_>) -> Result<()> {
        self.begin(out)
    }
}

/// Rows as one JSON array.
pub(super) struct JsonArray {
    format: JsonFormat,
    begun: bool,
}

impl JsonArray {
    pub(super) fn new(schema: SchemaRef) -> Result<Self> {
        let format = JsonFormat::new(JsonOptions::default());
        format.check_columns(&schema)?;
        let begun = false;
        Ok(Self { format, begun })
    }
}

impl Printer for JsonArray {
    fn rows(&mut self, batch: &RecordBatch, out: Out<'_>) -> Result<()> {
        let begun = &mut self.begun;
        self.format.format_rows(batch, &mut |text| {
            // A line feed inside a value is escaped, so every line is a row.
            for row in text.split_inclusive(|byte| *byte == b'\n') {
                let before: &[u8] = if *begun { b",\n" } else { b"[" };
                *begun = true;
                let row = row.strip_suffix(b"\n").unwrap_or(row);
                out.write_all(before)
                    .and_then(|()| out.write_all(row))
                    .map_err(not_written)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    fn end(&mut self, out: Out<'_>) -> Result<()> {
        let end: &[u8] = if self.begun { b"]\n" } else { b"[]\n" };
        out.write_all(end).map_err(not_written)
    }
}
