//! Throughput of the encoders: bytes of Arrow data per second on one core, by type and format.
//!
//! `cargo bench --workspace --bench encoders [-- FILTER]`

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Int64Type;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate_extensions::format::{
    CsvFormat, CsvOptions, FileFormat, JsonFormat, JsonOptions, ParquetCompression, ParquetFormat,
    ParquetOptions, PartBuffer, PartPool, TextCompression,
};

const ROWS: i64 = 65_536;
const BATCH: usize = 8192;
const PART_BYTES: usize = 8 << 20;

/// Numbers without a pattern.
fn scattered(row: i64) -> i64 {
    row.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64) >> 20
}

fn columns() -> Vec<(&'static str, ArrayRef)> {
    let rows = || 0..ROWS;
    let words = || rows().map(|row| format!("some words {}", scattered(row)));
    let modes = ["AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB", "REG AIR"];
    let cents = rows().map(|row| Some(i128::from(scattered(row) % 10_000_000)));
    let decimals: Decimal128Array = cents.collect();
    let few = |row: i64| modes[scattered(row).unsigned_abs() as usize % modes.len()];
    let lists = rows().map(|row| Some((0..row % 4).map(move |n| Some(scattered(row) + n))));
    vec![
        (
            "boolean",
            Arc::new(BooleanArray::from_iter(
                rows().map(|row| Some(scattered(row) % 2 == 0)),
            )),
        ),
        (
            "int32",
            Arc::new(Int32Array::from_iter_values(
                rows().map(|row| (scattered(row) % 1_000_000) as i32),
            )),
        ),
        (
            "int64 sorted",
            Arc::new(Int64Array::from_iter_values(rows())),
        ),
        (
            "int64",
            Arc::new(Int64Array::from_iter_values(rows().map(scattered))),
        ),
        (
            "int64 with NULLs",
            Arc::new(Int64Array::from_iter(
                rows().map(|row| (row % 3 > 0).then(|| scattered(row))),
            )),
        ),
        (
            "float64",
            Arc::new(Float64Array::from_iter_values(
                rows().map(|row| scattered(row) as f64 / 1000.0),
            )),
        ),
        (
            "decimal(15, 2)",
            Arc::new(
                decimals
                    .with_precision_and_scale(15, 2)
                    .unwrap_or_else(|_| Decimal128Array::from(vec![0])),
            ),
        ),
        (
            "date",
            Arc::new(Date32Array::from_iter_values(
                rows().map(|row| (scattered(row) % 20_000) as i32),
            )),
        ),
        (
            "timestamp",
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                rows().map(|row| scattered(row) * 1000),
            )),
        ),
        ("text", Arc::new(StringArray::from_iter_values(words()))),
        (
            "text views",
            Arc::new(StringViewArray::from_iter_values(words())),
        ),
        (
            "text of few values",
            Arc::new(StringArray::from_iter_values(rows().map(few))),
        ),
        (
            "list of int64",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
        ),
    ]
}

/// Encodes a file and returns its size in bytes.
async fn encode(
    format: &dyn FileFormat,
    batch: &RecordBatch,
) -> Result<u64, tidegate_extensions::Error> {
    let parts = PartBuffer::new(PartPool::new(PART_BYTES));
    let mut encoder = format.start_file(&batch.schema(), parts, 1)?;
    for start in (0..batch.num_rows()).step_by(BATCH) {
        encoder
            .write(&batch.slice(start, BATCH.min(batch.num_rows() - start)))
            .await?;
    }
    Ok(encoder.finish().await?.parts.written_bytes())
}

fn encoders(criterion: &mut Criterion) {
    let parquet = |compression| {
        let mut options = ParquetOptions::default();
        options.compression = compression;
        ParquetFormat::new(options, u64::MAX)
    };
    let csv = |compression| {
        let mut options = CsvOptions::default();
        options.compression = compression;
        CsvFormat::new(options)
    };
    let formats: Vec<(&str, Box<dyn FileFormat>)> = vec![
        (
            "parquet snappy",
            Box::new(parquet(ParquetCompression::Snappy)),
        ),
        (
            "parquet zstd",
            Box::new(parquet(ParquetCompression::Zstd(3))),
        ),
        ("csv", Box::new(csv(TextCompression::None))),
        ("csv gzip", Box::new(csv(TextCompression::Gzip(6)))),
        ("json", Box::new(JsonFormat::new(JsonOptions::default()))),
    ];
    for (name, format) in formats {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for (column, array) in columns() {
            group.throughput(Throughput::Bytes(
                array.to_data().get_slice_memory_size().unwrap_or(0) as u64,
            ));
            let Ok(batch) = RecordBatch::try_from_iter([("c", array)]) else {
                continue;
            };
            group.bench_function(column, |bencher| {
                bencher.iter(|| {
                    black_box(futures::executor::block_on(encode(format.as_ref(), &batch)))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, encoders);
criterion_main!(benches);
