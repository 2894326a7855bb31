//! The rows of a query as the client gets them, and functions of the catalog for DataFusion.
//!
//! Invariant: a column declares the type that PostgreSQL has for it, and its values are in that type's
//! text form, except for types that Arrow has.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::arrow;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};
use tidegate::{Error, ErrorKind, Session};
use tidegate_extensions::format::postgres::{PG_TYPE_KEY, oid};

use super::functions::function;
use super::objects::Objects;
use super::plan::{Apply, Call, Output};
use super::text::write;
use super::value::{Row, Value};
use crate::serve::fault::Fault;

fn data_type(type_oid: u32) -> Option<DataType> {
    Some(match type_oid {
        oid::BOOL => DataType::Boolean,
        oid::INT2 => DataType::Int16,
        oid::INT4 => DataType::Int32,
        oid::INT8 => DataType::Int64,
        oid::FLOAT4 => DataType::Float32,
        oid::FLOAT8 => DataType::Float64,
        oid::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        oid::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
        oid::TEXT => DataType::Utf8,
        _ => return None,
    })
}

/// Whether the values of a type can be sent in binary form.
pub(super) fn has_binary(type_oid: u32) -> bool {
    data_type(type_oid).is_some()
        || matches!(
            type_oid,
            oid::OID
                | oid::XID
                | oid::NAME
                | oid::CHAR
                | oid::VARCHAR
                | oid::BPCHAR
                | oid::UNKNOWN
                | oid::JSON
                | oid::JSONB
                | oid::VOID
                | oid::INT2VECTOR
                | oid::OIDVECTOR
                | oid::INT2_ARRAY
                | oid::INT4_ARRAY
                | oid::TEXT_ARRAY
                | oid::VARCHAR_ARRAY
                | oid::NAME_ARRAY
                | oid::CHAR_ARRAY
                | oid::OID_ARRAY
        )
}

fn field(name: &str, type_oid: u32) -> Field {
    match data_type(type_oid) {
        Some(data_type) => Field::new(name, data_type, true),
        None => {
            let declared = (PG_TYPE_KEY.to_owned(), type_oid.to_string());
            Field::new(name, DataType::Utf8, true).with_metadata(HashMap::from([declared]))
        }
    }
}

/// The columns of a result.
pub(super) fn schema(outputs: &[Output]) -> Schema {
    let fields = outputs
        .iter()
        .map(|output| field(&output.name, output.type_oid));
    Schema::new(fields.collect::<Vec<Field>>())
}

/// The rows of a result.
///
/// # Errors
/// XX000 if the values are not those of the columns' types.
pub(super) fn batch(
    schema: &Schema,
    outputs: &[Output],
    rows: &[Row],
    objects: &Objects,
) -> Result<RecordBatch, Fault> {
    let columns = outputs.iter().enumerate().map(|(place, output)| {
        let values = rows
            .iter()
            .map(|row| row.get(place).unwrap_or(&Value::Null));
        array(output.type_oid, values, objects)
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch =
        RecordBatch::try_new_with_options(Arc::new(schema.clone()), columns.collect(), &options);
    batch.map_err(|error| Fault::new("XX000", error.to_string()))
}

fn array<'v>(
    type_oid: u32,
    values: impl Iterator<Item = &'v Value>,
    objects: &Objects,
) -> ArrayRef {
    let micros = |value: &Value| match value {
        Value::Micros(micros) => Some(*micros),
        _ => None,
    };
    match type_oid {
        oid::BOOL => Arc::new(
            values
                .map(|value| match value {
                    Value::Bool(value) => Some(*value),
                    _ => None,
                })
                .collect::<BooleanArray>(),
        ),
        oid::INT2 => Arc::new(
            values
                .map(|value| value.as_int().map(|n| n as i16))
                .collect::<Int16Array>(),
        ),
        oid::INT4 => Arc::new(
            values
                .map(|value| value.as_int().map(|n| n as i32))
                .collect::<Int32Array>(),
        ),
        oid::INT8 => Arc::new(values.map(Value::as_int).collect::<Int64Array>()),
        oid::FLOAT4 => Arc::new(
            values
                .map(|value| value.as_float().map(|n| n as f32))
                .collect::<Float32Array>(),
        ),
        oid::FLOAT8 => Arc::new(values.map(Value::as_float).collect::<Float64Array>()),
        oid::TIMESTAMP => Arc::new(values.map(micros).collect::<TimestampMicrosecondArray>()),
        oid::TIMESTAMPTZ => {
            let array: TimestampMicrosecondArray = values.map(micros).collect();
            Arc::new(array.with_timezone("UTC"))
        }
        _ => Arc::new(
            values
                .map(|value| (!value.is_null()).then(|| write(type_oid, value, objects)))
                .collect::<StringArray>(),
        ),
    }
}

/// Functions that queries of tables can use, too, with the numbers of their arguments.
const FUNCTIONS: [(&str, &[usize], u32); 14] = [
    ("version", &[0], oid::TEXT),
    ("current_database", &[0], oid::NAME),
    ("current_catalog", &[0], oid::NAME),
    ("current_schema", &[0], oid::NAME),
    ("current_user", &[0], oid::NAME),
    ("session_user", &[0], oid::NAME),
    ("current_role", &[0], oid::NAME),
    ("pg_backend_pid", &[0], oid::INT4),
    ("pg_is_in_recovery", &[0], oid::BOOL),
    ("pg_advisory_unlock_all", &[0], oid::TEXT),
    ("current_setting", &[1, 2], oid::TEXT),
    ("set_config", &[3], oid::TEXT),
    ("pg_cancel_backend", &[1], oid::BOOL),
    ("pg_terminate_backend", &[1], oid::BOOL),
];

/// A function of the catalog in DataFusion. Its arguments are constants.
struct CatalogFunction {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    returns: u32,
    apply: Apply,
    objects: Arc<Objects>,
}

impl std::fmt::Debug for CatalogFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CatalogFunction")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl PartialEq for CatalogFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.objects, &other.objects)
    }
}

impl Eq for CatalogFunction {}

impl Hash for CatalogFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// A constant of DataFusion, and its type.
fn argument(value: &ScalarValue) -> (Value, u32) {
    match value {
        value if value.is_null() => (Value::Null, oid::UNKNOWN),
        ScalarValue::Boolean(Some(value)) => (Value::Bool(*value), oid::BOOL),
        ScalarValue::Int64(Some(number)) => (Value::Int(*number), oid::INT8),
        ScalarValue::Int32(Some(number)) => (Value::Int(i64::from(*number)), oid::INT4),
        other => (Value::text(other.to_string()), oid::TEXT),
    }
}

impl ScalarUDFImpl for CatalogFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(data_type(self.returns).unwrap_or(DataType::Utf8))
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        Ok(Arc::new(field(self.name, self.returns)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let arguments = args.args.iter().map(|argument| match argument {
            ColumnarValue::Scalar(value) => Ok(self::argument(value)),
            ColumnarValue::Array(_) => {
                let why = format!("the arguments of {} must be constants", self.name);
                Err(Error::new(ErrorKind::Unsupported, why))
            }
        });
        let arguments = arguments.collect::<tidegate::Result<Vec<_>>>()?;
        let (values, types): (Vec<_>, Vec<_>) = arguments.into_iter().unzip();
        let call = Call {
            name: self.name.to_owned(),
            types,
            fields: Vec::new(),
            returns: self.returns,
            is_strict: false,
        };
        let value = (self.apply)(&values, &call, &self.objects).map_err(|fault| {
            let kind = match fault.sqlstate {
                "42704" => ErrorKind::UndefinedObject,
                "42501" => ErrorKind::InsufficientPrivilege,
                _ => ErrorKind::InvalidParameter,
            };
            Error::new(kind, fault.message)
        })?;
        let value = array(self.returns, [value].iter(), &self.objects);
        Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
            &value, 0,
        )?))
    }
}

/// Adds functions about the session to it, for queries of tables.
pub(in crate::serve) fn with_functions(session: &Session, objects: &Arc<Objects>) {
    for (name, counts, returns) in FUNCTIONS {
        let Some(apply) = function(name) else {
            continue;
        };
        let signatures = counts.iter().map(|count| match count {
            0 => TypeSignature::Nullary,
            count => TypeSignature::Any(*count),
        });
        session
            .context()
            .register_udf(ScalarUDF::from(CatalogFunction {
                name,
                aliases: vec![format!("pg_catalog.{name}")],
                signature: Signature::one_of(signatures.collect(), Volatility::Volatile),
                returns,
                apply,
                objects: Arc::clone(objects),
            }));
    }
}
