//! Reads CSV files for scans.
//!
//! Invariant: a file with a header is read by the names in it.

use std::sync::Arc;

use arrow::datatypes::Schema;
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use super::columns::{BatchBuilder, Layout};
use super::stream::{BatchReader, RecordStream, read_first};
use super::{CsvSettings, infer, sniff};
use crate::error::Result;
use crate::notices::add_notice;
use crate::read::open::open_file;
use crate::read::text::{Batches, FileToRead, TextFormat, select};

impl CsvSettings {
    /// Opens a file. Returns its records, and whether the first one is its header.
    pub(super) async fn open(
        &self,
        store: &dyn ObjectStore,
        file: &Path,
    ) -> Result<(RecordStream, bool)> {
        let opened = open_file(store, file, self.compression).await?;
        let has_header = match opened.says_header {
            Some(says) if !self.told.header => says,
            _ => self.has_header,
        };
        let dialect = self.dialect.clone();
        let records = RecordStream::new(dialect, file.to_string(), opened.chunks);
        Ok((records, has_header))
    }
}

#[async_trait]
impl TextFormat for CsvSettings {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn describe(&self) -> String {
        format!(", has_header={}", self.has_header)
    }

    fn ignores_errors(&self) -> bool {
        self.ignores_errors
    }

    /// Detects the dialect and the header by the first file.
    async fn look(
        &self,
        store: &dyn ObjectStore,
        objects: &[ObjectMeta],
        declared: Option<&Schema>,
    ) -> Result<Self> {
        let mut found = match objects.first() {
            Some(object) => {
                let opened = open_file(store, &object.location, self.compression).await?;
                let mut chunks = opened.chunks;
                let mut sample = Vec::new();
                let mut is_whole = true;
                while let Some(chunk) = chunks.next().await {
                    sample.extend_from_slice(&chunk?);
                    if sample.len() >= sniff::SAMPLE_BYTES {
                        is_whole = false;
                        break;
                    }
                }
                let found = sniff::sniff(self, &sample, is_whole, declared);
                if !found.is_header_sure && opened.says_header.is_none() {
                    let taken = match found.has_header {
                        true => "a header",
                        false => "a row",
                    };
                    add_notice(format!(
                        "the first line of {} is read as {taken}; nothing in the file tells which it \
                         is: say header => true or header => false",
                        object.location
                    ));
                }
                found
            }
            None => self.clone(),
        };
        found.is_guessed = declared.is_none();
        Ok(found)
    }

    async fn guess_schema(
        &self,
        store: &dyn ObjectStore,
        objects: &[ObjectMeta],
    ) -> Result<Schema> {
        infer::infer_schema(self, store, objects).await
    }

    async fn read(&self, file: FileToRead) -> Result<Batches> {
        let FileToRead {
            store,
            path,
            schema,
            projection,
            batch_rows,
            passed_over,
        } = file;
        let file = path.to_string();
        // Whether a record is passed over does not depend on the wanted columns.
        let (read, selected) = match passed_over {
            Some(_) => ((0..schema.fields().len()).collect(), Some(projection)),
            None => (projection, None),
        };
        let wanted = schema.project(&read).map_err(DataFusionError::from)?;
        let mut layout = Layout {
            schema: Arc::new(wanted),
            projection: read.into_iter().map(Some).collect(),
            file_columns: schema.fields().len(),
            null: self.null.clone(),
            may_be_short: self.may_be_short,
            is_guessed: self.is_guessed,
            may_lack_columns: self.is_union,
            passed_over,
        };
        let (mut records, has_header) = self.open(store.as_ref(), &path).await?;
        records.pass_over(layout.passed_over.clone());
        if has_header {
            if let Some(header) = read_first(&mut records).await? {
                let columns = schema.fields().iter().map(|field| field.name().clone());
                let columns: Vec<String> = columns.collect();
                layout = layout.by_names(&header.texts(), &columns, &file)?;
            }
        } else if self.is_union {
            // Without names, a file lacks the last columns.
            layout.may_be_short = true;
        }
        let builder = BatchBuilder::new(layout, file);
        let batches = BatchReader {
            records,
            builder,
            batch_rows,
        };
        let batches = futures::stream::try_unfold(batches, |mut batches| async move {
            let batch = batches.next().await?;
            Ok::<_, DataFusionError>(batch.map(|batch| (batch, batches)))
        });
        Ok(select(batches.boxed(), selected))
    }
}
