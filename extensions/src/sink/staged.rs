//! A file whose bytes are in the store, but which is not an object yet.
//!
//! Invariant: a [`StagedFile`] is plain data and holds everything that completing it needs, so any
//! process can complete it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, StructArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, UInt64Type};
use serde::{Deserialize, Serialize};

use super::store::PendingUpload;
use crate::format::ColumnSummary;

/// A file whose bytes are in the store, but which is not an object yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StagedFile {
    /// The key the object will have.
    pub key: String,
    /// The id of the pending upload. `None` for a file without bytes on a store that refuses an empty
    /// part.
    pub upload_id: Option<String>,
    /// The store's receipts for its parts, in order.
    #[serde(rename = "etags")]
    pub receipts: Vec<String>,
    /// Its rows, as the format counted them.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its media type.
    pub content_type: String,
    /// Minimum, maximum and null count of each column, if requested and if the format knows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnSummary>,
    /// The object's ETag, once the object exists and if the store has ETags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_etag: Option<String>,
}

impl StagedFile {
    /// The pending upload of the file, if it has one.
    pub(crate) fn upload(&self) -> Option<PendingUpload> {
        self.upload_id.as_ref().map(|upload_id| PendingUpload {
            key: self.key.clone(),
            upload_id: upload_id.clone(),
        })
    }
}

/// Four fields for each column of a file; minimum and maximum as text.
fn summary_fields() -> Fields {
    Fields::from(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("min", DataType::Utf8, true),
        Field::new("max", DataType::Utf8, true),
        Field::new("nulls", DataType::UInt64, true),
    ])
}

pub(super) fn summaries_type() -> DataType {
    let summary = Field::new("item", DataType::Struct(summary_fields()), false);
    DataType::List(Arc::new(summary))
}

pub(super) fn summaries_array<'a>(
    files: impl Iterator<Item = &'a [ColumnSummary]> + Clone,
) -> ListArray {
    let lengths = OffsetBuffer::from_lengths(files.clone().map(<[ColumnSummary]>::len));
    let all: Vec<&ColumnSummary> = files.flatten().collect();
    let all = || all.iter();
    let fields: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            all().map(|column| &column.name),
        )),
        Arc::new(StringArray::from_iter(
            all().map(|column| column.min.as_ref()),
        )),
        Arc::new(StringArray::from_iter(
            all().map(|column| column.max.as_ref()),
        )),
        Arc::new(UInt64Array::from_iter(all().map(|column| column.nulls))),
    ];
    let summaries = StructArray::new(summary_fields(), fields, None);
    let item = Field::new("item", DataType::Struct(summary_fields()), false);
    ListArray::new(Arc::new(item), lengths, Arc::new(summaries), None)
}

pub(super) fn read_summaries(summaries: &StructArray) -> Vec<ColumnSummary> {
    let text = |field: usize, row: usize| {
        let texts = summaries.column(field).as_string::<i32>();
        texts.is_valid(row).then(|| texts.value(row).to_owned())
    };
    let nulls = summaries.column(3).as_primitive::<UInt64Type>();
    (0..summaries.len())
        .map(|row| ColumnSummary {
            name: text(0, row).unwrap_or_default(),
            min: text(1, row),
            max: text(2, row),
            nulls: nulls.is_valid(row).then(|| nulls.value(row)),
        })
        .collect()
}
