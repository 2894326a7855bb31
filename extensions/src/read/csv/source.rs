//! Reads a CSV file for a scan.
//!
//! Invariant: a file with a header is read by the names in it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use futures::StreamExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::path::Path;

use super::CsvSettings;
use super::columns::{BatchBuilder, Layout};
use super::stream::{BatchReader, RecordStream, read_header};
use crate::read::open::open_file;
use crate::read::scan::{Batches, TextFormat};

impl TextFormat for CsvSettings {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn describe(&self) -> String {
        format!(", has_header={}", self.has_header)
    }

    fn open(
        self: Arc<Self>,
        store: Arc<dyn ObjectStore>,
        file: Path,
        schema: SchemaRef,
        projection: Vec<usize>,
        batch_rows: usize,
    ) -> BoxFuture<'static, Result<Batches>> {
        Box::pin(async move {
            let layout = Layout {
                schema: Arc::new(schema.project(&projection)?),
                projection,
                file_columns: schema.fields().len(),
                null: self.null.clone(),
                may_be_short: self.may_be_short,
                is_guessed: self.is_guessed,
            };
            let compression = self.compression_of(&file);
            let opened = open_file(store.as_ref(), &file, compression).await?;
            let has_header = self.has_header_of(opened.says_header);
            let file = file.to_string();
            let dialect = self.dialect.clone();
            let mut records = RecordStream::new(dialect, file.clone(), opened.chunks);
            let names = match has_header {
                true => read_header(&mut records).await?,
                false => None,
            };
            let layout = match names {
                Some(names) => {
                    let columns = schema.fields().iter().map(|field| field.name().clone());
                    layout.by_names(&names, &columns.collect::<Vec<_>>(), &file)?
                }
                None => layout,
            };
            let batches = BatchReader {
                records,
                builder: BatchBuilder::new(layout, file),
                batch_rows,
            };
            let batches = futures::stream::try_unfold(batches, |mut batches| async move {
                let batch = batches.next().await?;
                Ok::<_, DataFusionError>(batch.map(|batch| (batch, batches)))
            });
            Ok(batches.boxed())
        })
    }
}
