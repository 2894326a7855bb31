//! `COPY … TO STDOUT`: returns encoded rows to the caller.
//!
//! Invariant: the rows come in the query's order, each of them as one value, and at most one batch is
//! buffered. The header, if there is one, and the end of a binary result are values without a row.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{BinaryArray, RecordBatch, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::Distribution;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};

use super::options::StreamOptions;
use super::properties::one_partition;
use crate::error::{Error, ErrorKind, Result};
use crate::format::postgres::{PgRows, ValueFormat};
use crate::format::{
    CopyTextFormat, CopyTextOptions, CsvFormat, FileFormat, JsonFormat, LineFormat,
    format_on_threads,
};

/// `COPY … TO STDOUT`: the rows of its input as lines.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CopyOutNode {
    /// The query.
    pub input: Arc<LogicalPlan>,
    /// How its rows are written.
    pub options: StreamOptions,
}

/// The columns that `COPY … TO STDOUT` returns: how many rows a value holds, 0 or 1, and the value: a
/// line, or a row in binary form.
fn lines_schema() -> &'static DFSchemaRef {
    static SCHEMA: LazyLock<DFSchemaRef> = LazyLock::new(|| {
        let schema = Schema::new(vec![
            Field::new("rows", DataType::UInt64, false),
            Field::new("lines", DataType::Binary, false),
        ]);
        Arc::new(DFSchema::try_from(schema).unwrap_or_else(|_| DFSchema::empty()))
    });
    &SCHEMA
}

impl CopyOutNode {
    /// Checks that the format can hold the columns.
    ///
    /// # Errors
    /// [`ErrorKind::DatatypeMismatch`] naming every column that it can't hold.
    pub(super) fn check_schema(&self) -> Result<()> {
        let schema = self.input.schema().as_arrow();
        match self.options.clone() {
            StreamOptions::Text(options) => CopyTextFormat::new(options).check_schema(schema),
            StreamOptions::Csv(options) => CsvFormat::new(options).check_schema(schema),
            StreamOptions::Json(options) => JsonFormat::new(options).check_schema(schema),
            StreamOptions::Binary => {
                CopyTextFormat::new(CopyTextOptions::default()).check_schema(schema)
            }
        }
    }
}

impl PartialOrd for CopyOutNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.options.cmp(&other.options) {
            Ordering::Equal => self.input.partial_cmp(&other.input),
            unequal => Some(unequal),
        }
    }
}

impl UserDefinedLogicalNodeCore for CopyOutNode {
    fn name(&self) -> &str {
        "CopyOut"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        lines_schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CopyOut: format={}", self.options.name())
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        inputs: Vec<LogicalPlan>,
    ) -> DataFusionResult<Self> {
        let mut node = self.clone();
        if let Some(input) = inputs.into_iter().next() {
            node.input = Arc::new(input);
        }
        Ok(node)
    }

    /// Every column of the input is written, so none may be pruned.
    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}

/// Turns the rows of its input into lines.
#[derive(Debug)]
pub(super) struct CopyOutExec {
    input: Arc<dyn ExecutionPlan>,
    options: StreamOptions,
    /// The rows are written in the order of the query.
    is_ordered: bool,
    properties: Arc<PlanProperties>,
}

impl CopyOutExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        options: StreamOptions,
        is_ordered: bool,
    ) -> Self {
        let schema = SchemaRef::clone(lines_schema().inner());
        Self {
            input,
            options,
            is_ordered,
            properties: one_partition(schema, EmissionType::Incremental),
        }
    }
}

impl DisplayAs for CopyOutExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CopyOutExec: format={}", self.options.name())
    }
}

impl ExecutionPlan for CopyOutExec {
    fn name(&self) -> &str {
        "CopyOutExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    /// Without this, the optimizer removes the query's Sort. The order can't be a requirement: the
    /// sorted columns may not be among the written ones.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.is_ordered]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else {
            return Err(DataFusionError::Internal(
                "CopyOutExec has one input".to_owned(),
            ));
        };
        let options = self.options.clone();
        Ok(Arc::new(Self::new(input, options, self.is_ordered)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let threads = context.session_config().target_partitions();
        let rows = self.input.execute(partition, context)?;
        Ok(match self.options.clone() {
            StreamOptions::Text(options) => {
                lines(CopyTextFormat::new(options), rows, threads, Quoting::None)
            }
            StreamOptions::Csv(options) => {
                let quoting = Quoting::Bytes {
                    quote: options.quote,
                    escape: options.escape,
                };
                lines(CsvFormat::new(options), rows, threads, quoting)
            }
            StreamOptions::Json(options) => {
                lines(JsonFormat::new(options), rows, threads, Quoting::None)
            }
            StreamOptions::Binary => binary_rows(rows),
        })
    }
}

/// Where a line end may be part of a value.
#[derive(Debug, Clone, Copy)]
enum Quoting {
    /// Nowhere.
    None,
    /// Between these quotes.
    Bytes { quote: u8, escape: u8 },
}

impl Quoting {
    /// The end of each line.
    fn line_ends(self, text: &[u8]) -> Vec<usize> {
        let Self::Bytes { quote, escape } = self else {
            return memchr::memchr_iter(b'\n', text).map(|at| at + 1).collect();
        };
        let mut ends = Vec::new();
        let (mut at, mut is_quoted) = (0, false);
        while let Some(found) = match (is_quoted, escape == quote) {
            (false, _) => memchr::memchr2(b'\n', quote, &text[at..]),
            (true, true) => memchr::memchr(quote, &text[at..]),
            (true, false) => memchr::memchr2(quote, escape, &text[at..]),
        } {
            let byte = text[at + found];
            at += found + 1;
            if byte == b'\n' && !is_quoted {
                ends.push(at);
            } else if byte == quote {
                // A doubled quote ends a quoted part and begins the next one.
                is_quoted = !is_quoted;
            } else {
                // The byte after an escape is part of the value.
                at = text.len().min(at + 1);
            }
        }
        ends
    }
}

fn lines<F: LineFormat>(
    format: F,
    rows: SendableRecordBatchStream,
    threads: usize,
    quoting: Quoting,
) -> SendableRecordBatchStream {
    let mut header = Vec::new();
    format.push_header(&rows.schema(), &mut header);
    let header = (!header.is_empty()).then(|| values_batch(0, [header.len()], header));
    let lines = rows.and_then(move |batch| {
        let format = format.clone();
        async move {
            let texts = format_on_threads(&format, &batch, threads).await?;
            let texts: Vec<Vec<u8>> = texts.into_iter().map(|(text, _)| text).collect();
            let text = texts.concat();
            values_batch(1, quoting.line_ends(&text), text)
        }
    });
    let schema = SchemaRef::clone(lines_schema().inner());
    let all = futures::stream::iter(header).chain(lines);
    Box::pin(RecordBatchStreamAdapter::new(schema, all))
}

/// The signature, the flags and the length of the extension of the header. See
/// <https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.4>.
const BINARY_HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const BINARY_END: [u8; 2] = (-1_i16).to_be_bytes();

/// The most bytes of a batch of rows in binary form, apart from its last row.
const BINARY_BATCH_BYTES: usize = 1 << 20;

/// Rows in PostgreSQL's binary form. The header stands in front of the first row, in the same value:
/// DuckDB and tokio-postgres require it.
fn binary_rows(rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    struct State {
        rows: SendableRecordBatchStream,
        formats: Vec<ValueFormat>,
        batch: Option<(PgRows, usize)>,
        header: Vec<u8>,
        has_ended: bool,
    }
    let formats = vec![ValueFormat::Binary; rows.schema().fields().len()];
    let state = State {
        rows,
        formats,
        batch: None,
        header: BINARY_HEADER.to_vec(),
        has_ended: false,
    };
    let encoded = futures::stream::try_unfold(state, |mut state| async move {
        loop {
            if state.has_ended {
                return Ok(None);
            }
            let Some((batch, first)) = state.batch.take() else {
                match state.rows.try_next().await? {
                    Some(batch) => state.batch = Some((PgRows::new(&batch)?, 0)),
                    None => {
                        state.has_ended = true;
                        state.header.extend_from_slice(&BINARY_END);
                        let end = std::mem::take(&mut state.header);
                        let end = values_batch(0, [end.len()], end)?;
                        return Ok(Some((end, state)));
                    }
                }
                continue;
            };
            let mut values = std::mem::take(&mut state.header);
            let mut ends = Vec::new();
            let passed = batch.each(first, &state.formats, |row| {
                values.extend_from_slice(row);
                ends.push(values.len());
                values.len() < BINARY_BATCH_BYTES
            })?;
            if passed == 0 {
                state.header = values;
                continue;
            }
            state.batch = Some((batch, first + passed));
            return Ok(Some((values_batch(1, ends, values)?, state)));
        }
    });
    let schema = SchemaRef::clone(lines_schema().inner());
    Box::pin(RecordBatchStreamAdapter::new(schema, encoded))
}

/// Values that end at `ends`, each of them with `rows` rows.
fn values_batch(
    rows: u64,
    ends: impl IntoIterator<Item = usize>,
    values: Vec<u8>,
) -> DataFusionResult<RecordBatch> {
    let built = || {
        let offsets = std::iter::once(Ok(0)).chain(ends.into_iter().map(i32::try_from));
        let offsets = offsets.collect::<std::result::Result<Vec<_>, _>>().ok()?;
        let rows = UInt64Array::from_value(rows, offsets.len() - 1);
        let offsets = OffsetBuffer::new(offsets.into());
        let values = BinaryArray::try_new(offsets, values.into(), None).ok()?;
        let schema = SchemaRef::clone(lines_schema().inner());
        RecordBatch::try_new(schema, vec![Arc::new(rows), Arc::new(values)]).ok()
    };
    built().ok_or_else(|| {
        let why = "the rows of a batch take more than 2 GB as text";
        Error::new(ErrorKind::Unsupported, why)
            .with_hint("SET datafusion.execution.batch_size to less")
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(quoting: Quoting, text: &str) -> Vec<&str> {
        let mut start = 0;
        let ends = quoting.line_ends(text.as_bytes());
        let lines = ends.into_iter().map(|end| {
            let line = &text[start..end];
            start = end;
            line
        });
        lines.collect()
    }

    #[test]
    fn a_line_end_in_quotes_ends_no_row() {
        let doubled = Quoting::Bytes {
            quote: b'"',
            escape: b'"',
        };
        let text = "a,\"b\n\"\"c\"\n\"\"\n\"\n\"\"\n\",\n";
        let expected = ["a,\"b\n\"\"c\"\n", "\"\"\n", "\"\n\"\"\n\",\n"];
        assert_eq!(lines_of(doubled, text), expected);
        let escaped = Quoting::Bytes {
            quote: b'\'',
            escape: b'\\',
        };
        let text = "'a\\'\n\\\\'\nb\n";
        assert_eq!(lines_of(escaped, text), ["'a\\'\n\\\\'\n", "b\n"]);
        assert_eq!(lines_of(Quoting::None, "\"\n\"\n"), ["\"\n", "\"\n"]);
    }
}
