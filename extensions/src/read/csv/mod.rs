//! CSV files as tables.
//!
//! Invariant: in a text column, a quoted value is never NULL, even if it is empty. An unquoted
//! value is NULL if it equals the NULL string. `SELECT … FROM t` returns the rows that
//! `COPY x TO t` wrote.
//!
//! DataFusion's reader turns every empty text into NULL, and splits records at line ends within
//! texts when it infers types. DataFusion's own format still does the writing, for `INSERT INTO` a
//! table of CSV files.

mod columns;
mod exact;
#[cfg(any(test, fuzzing))]
mod fuzzed;
mod infer;
mod nested;
mod records;
mod sniff;
mod source;
mod stream;
mod values;

pub(super) use exact::find_inexact;
#[cfg(any(test, fuzzing))]
pub(crate) use fuzzed::{check_records, check_sniffer};
pub(super) use values::{BadValue, values_of};

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::catalog::Session;
use datafusion::common::GetExt;
use datafusion::common::config::CsvOptions;
use datafusion::datasource::file_format::csv::{CsvFormat, CsvFormatFactory};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::session_state::SessionStateBuilder;
use object_store::{ObjectMeta, ObjectStore};

use super::replace_factory;
use super::text::{TextFiles, is_told};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::ast::{OptionValue, SqlOption};
use records::Dialect;

/// Makes the session read CSV files with this module.
pub(crate) fn with_csv(builder: &mut SessionStateBuilder) {
    replace_factory::<CsvFormatFactory>(
        builder,
        Arc::new(CsvFactory {
            options: CsvFormatFactory::new(),
        }),
    );
}

/// Creates the format of CSV files from DataFusion's options for CSV.
#[derive(Debug)]
struct CsvFactory {
    options: CsvFormatFactory,
}

impl FileFormatFactory for CsvFactory {
    fn create(
        &self,
        state: &dyn Session,
        options: &HashMap<String, String>,
    ) -> DataFusionResult<Arc<dyn FileFormat>> {
        let told = Told::by(options);
        let format = self.options.create(state, options)?;
        let format: Option<&CsvFormat> = format.downcast_ref();
        let mut options = format.map(|format| format.options().clone());
        if let Some(options) = &mut options {
            let has_header = state.config_options().catalog.has_header;
            options.has_header.get_or_insert(has_header);
        }
        let options = options.unwrap_or_default();
        let settings = CsvSettings::new(&options, told)?;
        let writer = CsvFormat::default().with_options(options);
        Ok(Arc::new(TextFiles::new(settings, writer)))
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        let settings = CsvSettings::from(&CsvOptions::default());
        Arc::new(TextFiles::new(settings, CsvFormat::default()))
    }
}

impl GetExt for CsvFactory {
    fn get_ext(&self) -> String {
        self.options.get_ext()
    }
}

/// Which options the user gave. The others are detected.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    delimiter: bool,
    quote: bool,
    header: bool,
    compression: bool,
}

impl Told {
    fn by(options: &HashMap<String, String>) -> Self {
        Self {
            delimiter: is_told(options, "delimiter"),
            quote: is_told(options, "quote"),
            header: is_told(options, "has_header"),
            compression: is_told(options, "compression"),
        }
    }
}

/// The settings for reading CSV files.
#[derive(Debug, Clone)]
struct CsvSettings {
    dialect: Dialect,
    has_header: bool,
    /// Whether the records tell that the first one is a header, or is none.
    is_header_sure: bool,
    told: Told,
    /// Whether the columns' types were guessed.
    is_guessed: bool,
    /// Whether the table has the columns of all files, which may lack some of them.
    is_union: bool,
    /// Whether records that can't be read are passed over.
    ignores_errors: bool,
    /// The text that is NULL unless it is quoted.
    null: String,
    /// Whether values may be missing at the end of a record; they are NULL.
    may_be_short: bool,
    /// How many records, over all files, are read to infer the types.
    inferred_records: usize,
    /// The compression of all files. If it was not told, each file's name tells its own.
    compression: Option<FileCompressionType>,
}

impl CsvSettings {
    /// # Errors
    /// [`ErrorKind::InvalidParameter`] for an option that reading does not have.
    fn new(options: &CsvOptions, told: Told) -> Result<Self> {
        if options.null_regex.is_some() {
            let error = Error::new(
                ErrorKind::InvalidParameter,
                "CSV files are not read with a null_regex",
            );
            return Err(error.with_hint(
                "format.null_value is the text that is NULL unless it stands in quotes",
            ));
        }
        let compression = FileCompressionType::from(options.compression);
        Ok(Self {
            compression: told.compression.then_some(compression),
            told,
            ..Self::from(options)
        })
    }
}

impl From<&CsvOptions> for CsvSettings {
    fn from(options: &CsvOptions) -> Self {
        const INFERRED_RECORDS: usize = 1000;
        Self {
            dialect: Dialect {
                delimiter: options.delimiter,
                quote: options.quote,
                escape: options.escape.unwrap_or(options.quote),
                comment: options.comment,
                terminator: options.terminator,
            },
            has_header: options.has_header.unwrap_or(true),
            is_header_sure: true,
            told: Told::default(),
            is_guessed: false,
            is_union: false,
            ignores_errors: false,
            null: options.null_value.clone().unwrap_or_default(),
            may_be_short: options.truncated_rows.unwrap_or(false),
            inferred_records: options.schema_infer_max_rec.unwrap_or(INFERRED_RECORDS),
            compression: None,
        }
    }
}

/// Detects how CSV files with these declared columns are written. Does nothing for other formats.
///
/// # Errors
/// The store's.
pub(super) async fn look_at(
    format: &Arc<dyn FileFormat>,
    store: &dyn ObjectStore,
    objects: &[ObjectMeta],
    declared: &Schema,
) -> Result<()> {
    match format.downcast_ref::<TextFiles<CsvSettings>>() {
        Some(files) => files.look(store, objects, Some(declared)).await.map(drop),
        None => Ok(()),
    }
}

/// Lets CSV files have different columns: the table has all of them. Other formats do so always.
pub(super) fn with_union(format: Arc<dyn FileFormat>) -> Arc<dyn FileFormat> {
    with(format, |settings| settings.is_union = true)
}

/// Lets CSV files have records that can't be read: they are passed over.
pub(super) fn ignoring_errors(format: Arc<dyn FileFormat>) -> Arc<dyn FileFormat> {
    with(format, |settings| settings.ignores_errors = true)
}

fn with(format: Arc<dyn FileFormat>, change: impl FnOnce(&mut CsvSettings)) -> Arc<dyn FileFormat> {
    match format.downcast_ref::<TextFiles<CsvSettings>>() {
        Some(files) => Arc::new(files.with(change)),
        None => format,
    }
}

/// The options with which `COPY` writes files as these are written.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for comments, and for line ends that `COPY` does not write.
pub(super) fn write_options(format: &Arc<dyn FileFormat>) -> Result<Vec<SqlOption>> {
    let Some(files) = format.downcast_ref::<TextFiles<CsvSettings>>() else {
        return Ok(Vec::new());
    };
    let CsvSettings {
        dialect,
        has_header,
        null,
        ..
    } = files.settings();
    if dialect.comment.is_some() || dialect.terminator.is_some_and(|byte| byte != b'\n') {
        let why = "INSERT INTO CSV files with comments, or with line ends of their own, is not \
                   supported";
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    let byte = |byte: u8| OptionValue::Text(char::from(byte).to_string());
    Ok(vec![
        SqlOption::new("HEADER", OptionValue::Text(has_header.to_string())),
        SqlOption::new("DELIMITER", byte(dialect.delimiter)),
        SqlOption::new("QUOTE", byte(dialect.quote)),
        SqlOption::new("ESCAPE", byte(dialect.escape)),
        SqlOption::new("NULL", OptionValue::Text(null.clone())),
    ])
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    };
    use bytes::Bytes;
    use futures::StreamExt;
    use proptest::prelude::*;

    use super::columns::{BatchBuilder, Layout};
    use super::stream::{BatchReader, RecordStream};
    use super::*;
    use crate::format;
    use crate::read::open::without_byte_order_mark;

    fn text() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("\\PC*|[,;1|'\"\n\r\\\\.{}()]*|NULL|n/a")
    }

    type Row = (Option<String>, Option<i64>, Option<Vec<Option<String>>>);

    fn row() -> impl Strategy<Value = Row> {
        let list = proptest::option::of(proptest::collection::vec(text(), 0..3));
        (text(), proptest::option::of(any::<i64>()), list)
    }

    fn options() -> impl Strategy<Value = format::CsvOptions> {
        let parts = (
            prop_oneof![Just(b','), Just(b';'), Just(b'\t')],
            prop_oneof![Just(b'"'), Just(b'\'')],
            any::<bool>(),
            any::<bool>(),
            prop_oneof![Just(""), Just("NULL"), Just("n/a"), Just("\\N")],
        );
        parts.prop_map(
            |(delimiter, quote, header, has_escape, null)| format::CsvOptions {
                delimiter,
                quote,
                escape: if has_escape { b'\\' } else { quote },
                header,
                null: null.to_owned(),
                ..format::CsvOptions::default()
            },
        )
    }

    fn batch_of(rows: &[Row], columns: usize) -> RecordBatch {
        let texts: StringArray = rows.iter().map(|row| row.0.as_deref()).collect();
        let numbers: Int64Array = rows.iter().map(|row| row.1).collect();
        let mut lists = ListBuilder::new(StringBuilder::new());
        for (_, _, list) in rows {
            lists.append_option(list.clone());
        }
        let all: [ArrayRef; 3] = [Arc::new(texts), Arc::new(numbers), Arc::new(lists.finish())];
        let named = all.into_iter().take(columns).enumerate();
        let named = named.map(|(i, column)| (format!("c{i}"), column, true));
        RecordBatch::try_from_iter_with_nullable(named).unwrap()
    }

    async fn write(options: &format::CsvOptions, batch: &RecordBatch) -> Vec<u8> {
        let format = format::CsvFormat::new(options.clone());
        let schema = batch.schema();
        let parts = format::PartBuffer::new(format::PartPool::new(1 << 20));
        let mut encoder = format::FileFormat::start_file(&format, &schema, parts, 1).unwrap();
        encoder.write(batch).await.unwrap();
        let mut file = encoder.finish().await.unwrap();
        file.parts.take_any().unwrap_or_default().to_vec()
    }

    async fn read(
        options: &format::CsvOptions,
        batch: &RecordBatch,
        bytes: Vec<u8>,
        chunk: usize,
    ) -> Option<RecordBatch> {
        let dialect = Dialect {
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
            comment: None,
            terminator: None,
        };
        let chunks: Vec<_> = bytes
            .chunks(chunk)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        let chunks = without_byte_order_mark(futures::stream::iter(chunks).boxed());
        let layout = Layout {
            projection: (0..batch.num_columns()).map(Some).collect(),
            schema: batch.schema(),
            file_columns: batch.num_columns(),
            null: options.null.clone(),
            may_be_short: false,
            is_guessed: false,
            may_lack_columns: false,
            passed_over: None,
        };
        let mut records = RecordStream::new(dialect, "f.csv".to_owned(), chunks);
        if options.header {
            stream::read_first(&mut records).await.unwrap();
        }
        let mut reader = BatchReader {
            records,
            builder: BatchBuilder::new(layout, "f.csv".to_owned()),
            batch_rows: usize::MAX,
        };
        reader.next().await.unwrap()
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        let options = format::CsvOptions {
            header: true,
            ..format::CsvOptions::default()
        };
        let rows = [(Some("a,b".to_owned()), None, None)];
        let batch = batch_of(&rows, 1);
        for text in ["\u{feff}\"c0\"\n\"a,b\"\n", "c0\n\"a,b\"\n"] {
            for chunk in [1, 2, 4, 100] {
                let bytes = text.as_bytes().to_vec();
                let found = futures::executor::block_on(read(&options, &batch, bytes, chunk));
                assert_eq!(found.as_ref(), Some(&batch), "{chunk}");
            }
        }
    }

    proptest! {
        /// Reading returns the exported rows, including NULLs, for all options and chunks.
        #[test]
        fn what_was_written_is_read(
            rows in proptest::collection::vec(row(), 1..8),
            columns in 1_usize..=3,
            options in options(),
            chunk in 1_usize..40,
        ) {
            let batch = batch_of(&rows, columns);
            let found = futures::executor::block_on(async {
                let bytes = write(&options, &batch).await;
                read(&options, &batch, bytes, chunk).await
            });
            prop_assert_eq!(found, Some(batch));
        }
    }
}
