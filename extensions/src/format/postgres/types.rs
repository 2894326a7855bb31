//! The types of PostgreSQL that clients are told.
//!
//! Invariant: a column's type is the one whose text form the column's texts have.
//!
//! The numbers of types: <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/include/catalog/pg_type.dat>

use arrow::datatypes::{DataType, Field};

use super::declared::declared_type;
use crate::format::text::is_uuid;

/// A type of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgType {
    /// Its number in `pg_type`.
    pub oid: u32,
    /// Bytes of a value; -1 if they vary.
    pub size: i16,
    /// Precision and scale of a `numeric`; -1 for none.
    pub modifier: i32,
}

/// The numbers of types.
pub mod oid {
    #![allow(missing_docs)]
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const CHAR: u32 = 18;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT2VECTOR: u32 = 22;
    pub const INT4: u32 = 23;
    pub const REGPROC: u32 = 24;
    pub const TEXT: u32 = 25;
    pub const OID: u32 = 26;
    pub const XID: u32 = 28;
    pub const OIDVECTOR: u32 = 30;
    pub const JSON: u32 = 114;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const UNKNOWN: u32 = 705;
    pub const CHAR_ARRAY: u32 = 1002;
    pub const NAME_ARRAY: u32 = 1003;
    pub const INT2_ARRAY: u32 = 1005;
    pub const INT4_ARRAY: u32 = 1007;
    pub const TEXT_ARRAY: u32 = 1009;
    pub const VARCHAR_ARRAY: u32 = 1015;
    pub const OID_ARRAY: u32 = 1028;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIME: u32 = 1083;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const INTERVAL: u32 = 1186;
    pub const NUMERIC: u32 = 1700;
    pub const REGCLASS: u32 = 2205;
    pub const REGTYPE: u32 = 2206;
    pub const VOID: u32 = 2278;
    pub const UUID: u32 = 2950;
    pub const JSONB: u32 = 3802;
    pub const REGNAMESPACE: u32 = 4089;
    pub const REGROLE: u32 = 4096;
}

/// Types and the types of their arrays.
const ARRAYS: [(u32, u32); 20] = [
    (oid::CHAR, oid::CHAR_ARRAY),
    (oid::NAME, oid::NAME_ARRAY),
    (oid::OID, oid::OID_ARRAY),
    (oid::BOOL, 1000),
    (oid::BYTEA, 1001),
    (oid::INT2, oid::INT2_ARRAY),
    (oid::INT4, oid::INT4_ARRAY),
    (oid::TEXT, oid::TEXT_ARRAY),
    (oid::BPCHAR, 1014),
    (oid::VARCHAR, oid::VARCHAR_ARRAY),
    (oid::INT8, 1016),
    (oid::FLOAT4, 1021),
    (oid::FLOAT8, 1022),
    (oid::TIMESTAMP, 1115),
    (oid::DATE, 1182),
    (oid::TIME, 1183),
    (oid::TIMESTAMPTZ, 1185),
    (oid::INTERVAL, 1187),
    (oid::NUMERIC, 1231),
    (oid::UUID, 2951),
];

/// The type of the elements of an array type; `None` for another type.
pub fn element_of(array: u32) -> Option<u32> {
    let found = ARRAYS.iter().find(|(_, of)| *of == array);
    found.map(|(element, _)| *element)
}

/// The type of arrays of a type; `None` if Tidegate has no such arrays.
pub fn array_of(element: u32) -> Option<u32> {
    let found = ARRAYS.iter().find(|(of, _)| *of == element);
    found.map(|(_, array)| *array)
}

/// The type that a client is told for a column.
///
/// The field may [declare](super::PG_TYPE_KEY) it. Structs, maps and nested lists are texts: their types have no fixed number in PostgreSQL.
pub fn pg_type(field: &Field) -> PgType {
    if let Some(declared) = declared_type(field) {
        return declared;
    }
    let fixed = |oid, size| PgType {
        oid,
        size,
        modifier: -1,
    };
    match field.data_type() {
        DataType::Boolean => fixed(oid::BOOL, 1),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => fixed(oid::INT2, 2),
        DataType::Int32 | DataType::UInt16 => fixed(oid::INT4, 4),
        DataType::Int64 | DataType::UInt32 => fixed(oid::INT8, 8),
        DataType::UInt64 => fixed(oid::NUMERIC, -1),
        DataType::Float16 | DataType::Float32 => fixed(oid::FLOAT4, 4),
        DataType::Float64 => fixed(oid::FLOAT8, 8),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => PgType {
            oid: oid::NUMERIC,
            size: -1,
            modifier: match u8::try_from(*scale) {
                Ok(scale) => (i32::from(*precision) << 16 | i32::from(scale)) + 4,
                Err(_) => -1,
            },
        },
        other if is_uuid(field, other) => fixed(oid::UUID, 16),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => fixed(oid::BYTEA, -1),
        DataType::Date32 | DataType::Date64 => fixed(oid::DATE, 4),
        DataType::Time32(_) | DataType::Time64(_) => fixed(oid::TIME, 8),
        DataType::Timestamp(_, None) => fixed(oid::TIMESTAMP, 8),
        DataType::Timestamp(_, Some(_)) => fixed(oid::TIMESTAMPTZ, 8),
        DataType::Duration(_) | DataType::Interval(_) => fixed(oid::INTERVAL, 16),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
            if !is_nested(item.data_type()) =>
        {
            fixed(array_of(pg_type(item).oid).unwrap_or(oid::TEXT), -1)
        }
        DataType::Dictionary(_, values) => {
            pg_type(&field.clone().with_data_type(values.as_ref().clone()))
        }
        DataType::RunEndEncoded(_, values) => {
            pg_type(&field.clone().with_data_type(values.data_type().clone()))
        }
        _ => fixed(oid::TEXT, -1),
    }
}

/// Whether values of this type are read as texts, not as PostgreSQL's arrays.
fn is_nested(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_nested(values),
        DataType::RunEndEncoded(_, values) => is_nested(values.data_type()),
        other => other.is_nested(),
    }
}
