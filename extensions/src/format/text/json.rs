//! Newline-delimited JSON: one object per row.
//!
//! Invariant: every line is a valid JSON object with all columns, including NULLs, and no value is
//! rounded. Integers and decimals keep all digits. Floats that JSON has no number for (`NaN`,
//! `Infinity`) are strings, as in PostgreSQL's `to_json`. Bytes are hexadecimal digits, times are
//! ISO 8601, and intervals are PostgreSQL's text. The format:
//! <https://github.com/ndjson/ndjson-spec>

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch, StructArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Float16Type, Float32Type, Float64Type, Schema,
};
use arrow::error::ArrowError;
use arrow::json::writer::{
    Encoder as ValueEncoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder,
};

use super::compression::TextCompression;
use super::values::{ColumnText, column_text, is_uuid, iso_timestamp_text};
use super::{LineFormat, format_each};
use crate::error::{Error, ErrorKind, Result};
use crate::format::refuse_columns;

/// Options for writing JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct JsonOptions {
    /// Compression of files.
    pub compression: TextCompression,
}

/// JSON files.
#[derive(Debug, Clone)]
pub struct JsonFormat {
    options: JsonOptions,
    encoder: EncoderOptions,
}

impl JsonFormat {
    /// Creates the format with `options`.
    pub fn new(options: JsonOptions) -> Self {
        let encoder = EncoderOptions::default()
            .with_explicit_nulls(true)
            .with_encoder_factory(Arc::new(ExactValues));
        Self { options, encoder }
    }

    fn can_encode(&self, field: &FieldRef) -> bool {
        let empty = arrow::array::new_empty_array(field.data_type());
        make_encoder(field, &empty, &self.encoder).is_ok()
    }
}

impl LineFormat for JsonFormat {
    const NAME: &'static str = "json";

    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn compression(&self) -> TextCompression {
        self.options.compression
    }

    fn check_columns(&self, schema: &Schema) -> Result<()> {
        let refused: Vec<&Field> = schema
            .fields()
            .iter()
            .filter(|field| !self.can_encode(field))
            .map(AsRef::as_ref)
            .collect();
        refuse_columns(Self::NAME, &refused)
    }

    fn push_header(&self, _schema: &Schema, _out: &mut Vec<u8>) {}

    fn format_rows(
        &self,
        batch: &RecordBatch,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        let rows = StructArray::from(batch.clone());
        let field = Arc::new(Field::new("", rows.data_type().clone(), false));
        let mut row_encoder = make_encoder(&field, &rows, &self.encoder).map_err(encode_error)?;
        format_each(batch.num_rows(), out, |row, text| {
            row_encoder.encode(row, text);
            text.push(b'\n');
        })
    }
}

fn encode_error(error: ArrowError) -> Error {
    Error::new(ErrorKind::Query, format!("cannot encode as json: {error}")).with_source(error)
}

/// Encodes values that arrow's own encoders write as `null`, as an error message, or in another
/// form (UUIDs).
#[derive(Debug)]
struct ExactValues;

impl EncoderFactory for ExactValues {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> std::result::Result<Option<NullableEncoder<'a>>, ArrowError> {
        let external = |error: Error| ArrowError::ExternalError(Box::new(error));
        let encoder: Box<dyn ValueEncoder + 'a> = match array.data_type() {
            DataType::Float16 => floats::<_, f32>(array.as_primitive::<Float16Type>()),
            DataType::Float32 => floats::<_, f32>(array.as_primitive::<Float32Type>()),
            DataType::Float64 => floats::<_, f64>(array.as_primitive::<Float64Type>()),
            DataType::Timestamp(_, _) => {
                Box::new(Quoted(iso_timestamp_text(array).map_err(external)?))
            }
            other if other.is_temporal() || is_uuid(field, other) => {
                Box::new(Quoted(column_text(field, array).map_err(external)?))
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.logical_nulls())))
    }
}

/// A text without characters that JSON escapes.
struct Quoted<'a>(ColumnText<'a>);

impl ValueEncoder for Quoted<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        self.0.push_text(row, out);
        out.push(b'"');
    }
}

/// Finite values are printed as type `F`, which holds them exactly.
fn floats<'a, T, F>(array: &'a PrimitiveArray<T>) -> Box<dyn ValueEncoder + 'a>
where
    T: ArrowPrimitiveType<Native: Into<f64> + Into<F>>,
    F: zmij::Float + 'a,
{
    Box::new(Floats {
        array,
        shown_as: PhantomData::<F>,
    })
}

struct Floats<'a, T: ArrowPrimitiveType, F> {
    array: &'a PrimitiveArray<T>,
    shown_as: PhantomData<F>,
}

impl<T, F> ValueEncoder for Floats<'_, T, F>
where
    T: ArrowPrimitiveType<Native: Into<f64> + Into<F>>,
    F: zmij::Float,
{
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.array.value(row);
        let float: f64 = value.into();
        if float.is_finite() {
            let shown: F = value.into();
            out.extend_from_slice(zmij::Buffer::new().format_finite(shown).as_bytes());
            return;
        }
        let name: &[u8] = match float {
            _ if float.is_nan() => b"\"NaN\"",
            _ if float > 0.0 => b"\"Infinity\"",
            _ => b"\"-Infinity\"",
        };
        out.extend_from_slice(name);
    }
}
