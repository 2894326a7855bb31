//! Compares files to write with a Parquet file that is there already.
//!
//! Invariant: files of the same columns fit each other, whatever metadata their writers add.

use arrow::datatypes::Schema;
use parquet::arrow::{ArrowSchemaConverter, parquet_to_arrow_schema};
use parquet::errors::Result;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::schema::types::SchemaDescriptor;

use super::widen::{Misfit, merge_schemas};
use crate::format::{Comparison, Neighbor};

/// The length of the footer, and the magic number behind it:
/// <https://parquet.apache.org/docs/file-format/>
const TAIL_BYTES: usize = 8;
const MAGIC: &[u8] = b"PAR1";

/// `other` are the last bytes of the other file.
pub(super) fn compare(schema: &Schema, other: &Neighbor) -> Comparison {
    let Some((before, tail)) = other.bytes.split_last_chunk::<TAIL_BYTES>() else {
        return Comparison::Fits;
    };
    let ([a, b, c, d, ..], true) = (tail, tail.ends_with(MAGIC)) else {
        return Comparison::Fits;
    };
    let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
    let Some(start) = before.len().checked_sub(length) else {
        return Comparison::NeedsBytes(length.saturating_add(TAIL_BYTES));
    };
    let theirs = ParquetMetaDataReader::decode_metadata(&before[start..]);
    let theirs = theirs.and_then(|footer| plain_schema(footer.file_metadata().schema_descr()));
    let ours = ArrowSchemaConverter::new().convert(schema);
    let ours = ours.and_then(|columns| plain_schema(&columns));
    match (theirs, ours) {
        (Ok(theirs), Ok(ours)) => compare_schemas(&theirs, &ours),
        _ => Comparison::Fits,
    }
}

/// The columns by Parquet's types alone: Arrow's own types, in a note of the file, are not compared.
fn plain_schema(columns: &SchemaDescriptor) -> Result<Schema> {
    parquet_to_arrow_schema(columns, None)
}

fn compare_schemas(theirs: &Schema, ours: &Schema) -> Comparison {
    let names = |schema: &Schema| -> Vec<String> {
        let fields = schema.fields().iter();
        fields.map(|field| field.name().clone()).collect()
    };
    match merge_schemas(theirs, ours) {
        Ok(_) => Comparison::of_names(&names(theirs), &names(ours)),
        Err(Misfit {
            column,
            before,
            now,
        }) => Comparison::Differs(format!(
            "its column {column} is {before}, and this export writes {now}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::RecordBatch;
    use arrow::datatypes::{DataType, Field, IntervalUnit, SchemaRef, TimeUnit};

    use super::*;
    use crate::format::{FileFormat, ParquetFormat, ParquetOptions, PartBuffer, PartPool};

    async fn write(schema: &SchemaRef) -> Neighbor {
        let format = ParquetFormat::new(ParquetOptions::default(), u64::MAX);
        let parts = PartBuffer::new(PartPool::new(1 << 20));
        let mut encoder = format.start_file(schema, parts, 1).unwrap();
        let batch = RecordBatch::new_empty(SchemaRef::clone(schema));
        encoder.write(&batch).await.unwrap();
        let mut file = encoder.finish().await.unwrap();
        Neighbor {
            bytes: file.parts.take_any().unwrap(),
            is_whole: true,
            content_type: None,
            is_compressed: false,
        }
    }

    #[tokio::test]
    async fn files_fit_those_of_the_same_columns() {
        let types = [
            DataType::Int8,
            DataType::UInt64,
            DataType::Utf8View,
            DataType::LargeBinary,
            DataType::Date64,
            DataType::Null,
            DataType::Duration(TimeUnit::Microsecond),
            DataType::Interval(IntervalUnit::YearMonth),
            DataType::Timestamp(TimeUnit::Millisecond, Some("+02:00".into())),
            DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
            DataType::Decimal256(60, 20),
            DataType::FixedSizeList(Arc::new(Field::new("x", DataType::Int32, true)), 2),
            DataType::new_list(DataType::new_list(DataType::Utf8, true), true),
        ];
        let fields = types.into_iter().enumerate();
        let fields = fields.map(|(i, data_type)| Field::new(format!("c{i}"), data_type, true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let written = write(&schema).await;
        assert_eq!(compare(&schema, &written), Comparison::Fits);
        let short = Neighbor {
            bytes: written.bytes.slice(written.bytes.len() - 20..),
            ..written.clone()
        };
        let Comparison::NeedsBytes(needed) = compare(&schema, &short) else {
            panic!("20 bytes are enough");
        };
        let enough = Neighbor {
            bytes: written.bytes.slice(written.bytes.len() - needed..),
            ..written
        };
        assert_eq!(compare(&schema, &enough), Comparison::Fits);

        let of = |name: &str, data_type: DataType| {
            Arc::new(Schema::new(vec![Field::new(name, data_type, false)]))
        };
        let written = write(&of("x", DataType::Int32)).await;
        let compare = |schema: SchemaRef| compare(&schema, &written);
        assert_eq!(
            compare(of("X", DataType::Int64)),
            Comparison::Differs("it has the columns x, and this export writes X".to_owned())
        );
        assert_eq!(compare(of("x", DataType::Int64)), Comparison::Fits);
        assert!(matches!(
            compare(of("x", DataType::Utf8)),
            Comparison::Differs(_)
        ));
        assert!(matches!(
            compare(of("y", DataType::Int32)),
            Comparison::Differs(_)
        ));
    }
}
