//! Functions that are computed row by row from the texts of their arguments.
//!
//! Invariant: an argument's text is what a cast to text gives in PostgreSQL. A strict function returns
//! NULL if an argument is NULL.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::times::parse_times;
use crate::error::{Error, ErrorKind, Result};
use crate::format::text_array;

/// An argument in one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arg<'a> {
    pub(super) text: Option<&'a str>,
    pub(super) data_type: &'a DataType,
}

impl<'a> Arg<'a> {
    /// The text. Empty for NULL, which a strict function never gets.
    pub(super) fn text(&self) -> &'a str {
        self.text.unwrap_or_default()
    }
}

/// Computes a row. Returns the text of the result; `None` is NULL.
pub(super) type Compute = fn(&[Arg<'_>]) -> Result<Option<String>>;

/// A function of rows.
#[derive(Debug)]
pub(super) struct RowFunction {
    name: &'static str,
    args: RangeInclusive<usize>,
    returns: DataType,
    is_strict: bool,
    compute: Compute,
    signature: Signature,
}

impl RowFunction {
    /// A strict function with this number of arguments, which returns text.
    pub(super) fn new(name: &'static str, args: RangeInclusive<usize>, compute: Compute) -> Self {
        Self {
            name,
            args,
            returns: DataType::Utf8,
            is_strict: true,
            compute,
            signature: Signature::variadic_any(Volatility::Immutable),
        }
    }

    /// The result is cast to this type.
    pub(super) fn returning(self, returns: DataType) -> Self {
        Self { returns, ..self }
    }

    /// The function gets NULLs, too.
    pub(super) fn with_nulls(self) -> Self {
        Self {
            is_strict: false,
            ..self
        }
    }

    pub(super) fn into_udf(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(self))
    }
}

impl PartialEq for RowFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for RowFunction {}

impl std::hash::Hash for RowFunction {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for RowFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        if self.args.contains(&types.len()) {
            return Ok(self.returns.clone());
        }
        let why = format!("{} can't have {} arguments", self.name, types.len());
        Err(Error::new(ErrorKind::InvalidParameter, why).into())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let is_single = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_single { 1 } else { args.number_rows };
        let mut texts = Vec::with_capacity(args.args.len());
        for (arg, field) in args.args.iter().zip(&args.arg_fields) {
            let array = arg.to_array(rows)?;
            texts.push(match array.data_type() {
                // A cast of a boolean is `true`, while PostgreSQL prints `t`.
                found
                    if found.is_string() || matches!(found, DataType::Boolean | DataType::Null) =>
                {
                    cast(&array, &DataType::Utf8)?.as_string::<i32>().clone()
                }
                _ => text_array(field, &array)?,
            });
        }
        let mut row_args: Vec<Arg<'_>> = args
            .arg_fields
            .iter()
            .map(|field| Arg {
                text: None,
                data_type: field.data_type(),
            })
            .collect();
        let mut results = Vec::with_capacity(rows);
        for row in 0..rows {
            for (arg, texts) in row_args.iter_mut().zip(&texts) {
                arg.text = texts.is_valid(row).then(|| texts.value(row));
            }
            let is_null = self.is_strict && row_args.iter().any(|arg| arg.text.is_none());
            results.push(match is_null {
                true => None,
                false => (self.compute)(&row_args)?,
            });
        }
        let results = StringArray::from_iter(results);
        let results: ArrayRef = match &self.returns {
            DataType::Timestamp(..) => parse_times(&results, &self.returns, false)?,
            returns => {
                let strict = CastOptions {
                    safe: false,
                    ..CastOptions::default()
                };
                cast_with_options(&results, returns, &strict)?
            }
        };
        Ok(match is_single {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&results, 0)?),
            false => ColumnarValue::Array(results),
        })
    }
}
