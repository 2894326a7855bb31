//! Guesses the types of columns from records whose shape is known.
//!
//! Invariant: a value of the guessed type gives the text of each record back; the fallback is text.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use super::records::{BATCH_BYTES, read_texts};
use super::shape::Shape;
use super::split::Record;
use crate::error::{Error, ErrorKind, Result};
use crate::read::csv::{find_inexact, values_of};

/// The number of records that are looked at together.
const BATCH_ROWS: usize = 8192;

/// Looks at records.
pub(super) struct Guesser {
    guess: Guess,
    /// All columns as texts.
    schema: SchemaRef,
    /// The records since the last batch.
    records: Vec<Record>,
    bytes: usize,
}

impl Guesser {
    /// `shape` is that of all records.
    pub(super) fn new(shape: &Shape) -> Self {
        let fields = match text_type(shape) {
            DataType::Struct(fields) => fields,
            _ => Fields::empty(),
        };
        Self {
            guess: Guess::of(shape),
            schema: Arc::new(Schema::new(fields)),
            records: Vec::new(),
            bytes: 0,
        }
    }

    /// # Errors
    /// [`ErrorKind::Query`] for a record that the parser of all records refuses.
    pub(super) fn add(&mut self, record: Record) -> Result<()> {
        self.bytes += record.bytes.len();
        self.records.push(record);
        match self.records.len() < BATCH_ROWS && self.bytes < BATCH_BYTES {
            true => Ok(()),
            false => self.look(),
        }
    }

    fn look(&mut self) -> Result<()> {
        let records = std::mem::take(&mut self.records);
        self.bytes = 0;
        let texts = read_texts(&self.schema, &records, true).map_err(|error| {
            let why = "the first records can't be read";
            Error::new(ErrorKind::Query, why).with_source(error)
        })?;
        let texts: ArrayRef = Arc::new(StructArray::from(texts));
        self.guess.look(&texts);
        Ok(())
    }

    /// # Errors
    /// As [`Self::add`].
    pub(super) fn finish(mut self) -> Result<Schema> {
        self.look()?;
        Ok(match self.guess.data_type() {
            DataType::Struct(fields) => Schema::new(fields),
            _ => Schema::empty(),
        })
    }
}

/// What is known of the values of a column.
enum Guess {
    Text,
    Boolean,
    Number(Numbers),
    List(Box<Guess>),
    Object(Vec<(String, Guess)>),
}

impl Guess {
    fn of(shape: &Shape) -> Self {
        match shape {
            Shape::Null | Shape::Text | Shape::Scalar | Shape::Mixed => Self::Text,
            Shape::Boolean => Self::Boolean,
            Shape::Number => Self::Number(Numbers::default()),
            Shape::List(item) => Self::List(Box::new(Self::of(item))),
            Shape::Object(keys) => {
                let keys = keys.iter();
                Self::Object(
                    keys.map(|(key, shape)| (key.clone(), Self::of(shape)))
                        .collect(),
                )
            }
        }
    }

    fn look(&mut self, texts: &ArrayRef) {
        match self {
            Self::Text | Self::Boolean => {}
            Self::Number(numbers) => numbers.look(texts.as_string()),
            Self::List(item) => item.look(texts.as_list::<i32>().values()),
            Self::Object(keys) => {
                let columns = texts.as_struct().columns().iter();
                keys.iter_mut()
                    .zip(columns)
                    .for_each(|((_, guess), texts)| guess.look(texts));
            }
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Number(numbers) => numbers.data_type(),
            Self::List(item) => list_of(item.data_type()),
            Self::Object(keys) => {
                struct_of(keys.iter().map(|(key, guess)| (key, guess.data_type())))
            }
        }
    }
}

/// The shape as a type with texts for leaves.
fn text_type(shape: &Shape) -> DataType {
    match shape {
        Shape::List(item) => list_of(text_type(item)),
        Shape::Object(keys) => struct_of(keys.iter().map(|(key, shape)| (key, text_type(shape)))),
        _ => DataType::Utf8,
    }
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

fn struct_of<'a>(keys: impl Iterator<Item = (&'a String, DataType)>) -> DataType {
    DataType::Struct(
        keys.map(|(key, item)| Field::new(key, item, true))
            .collect(),
    )
}

/// Which types give the texts of all numbers back.
struct Numbers {
    are_int64: bool,
    are_uint64: bool,
    are_float64: bool,
    /// No number has an exponent.
    are_decimals: bool,
    /// The most digits before the point, and behind it.
    whole: usize,
    scale: usize,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            are_int64: true,
            are_uint64: true,
            are_float64: true,
            are_decimals: true,
            whole: 0,
            scale: 0,
        }
    }
}

/// The digits of a decimal.
const PRECISION: u8 = 38;

impl Numbers {
    fn look(&mut self, texts: &StringArray) {
        let fits = |data_type: DataType| {
            values_of(texts, &data_type).is_ok() && find_inexact(texts, &data_type).is_none()
        };
        self.are_int64 = self.are_int64 && fits(DataType::Int64);
        self.are_uint64 = self.are_uint64 && fits(DataType::UInt64);
        self.are_float64 = self.are_float64 && fits(DataType::Float64);
        for text in texts.iter().flatten() {
            let number = text.strip_prefix('-').unwrap_or(text);
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            self.whole = self.whole.max(whole.len());
            self.scale = self.scale.max(fraction.len());
            let mut digits = whole.bytes().chain(fraction.bytes());
            self.are_decimals = self.are_decimals && digits.all(|byte| byte.is_ascii_digit());
        }
    }

    /// The narrowest type that gives all texts back.
    fn data_type(&self) -> DataType {
        let digits = self.whole + self.scale;
        match i8::try_from(self.scale) {
            _ if self.are_int64 => DataType::Int64,
            _ if self.are_uint64 => DataType::UInt64,
            _ if self.are_float64 => DataType::Float64,
            Ok(scale) if self.are_decimals && digits <= usize::from(PRECISION) => {
                DataType::Decimal128(PRECISION, scale)
            }
            _ => DataType::Utf8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        let cases: [(&[&str], DataType); 6] = [
            (&["1", "-2"], DataType::Int64),
            (&["1", "18446744073709551615"], DataType::UInt64),
            (&["1", "2.5", "1e300"], DataType::Float64),
            (&["99999999999999999.99", "1"], DataType::Decimal128(38, 2)),
            (&["99999999999999999.99", "1e300"], DataType::Utf8),
            (
                &["1234567890123456789012345678901234567890"],
                DataType::Utf8,
            ),
        ];
        for (texts, expected) in cases {
            let mut whole = Numbers::default();
            whole.look(&StringArray::from(texts.to_vec()));
            let mut parts = Numbers::default();
            for text in texts {
                parts.look(&StringArray::from(vec![*text]));
            }
            assert_eq!(whole.data_type(), expected, "{texts:?}");
            assert_eq!(parts.data_type(), expected, "{texts:?}");
        }
    }
}
