//! Values as texts, and texts as values.
//!
//! Invariant: a value that is cast to text, or joined to one, is what PostgreSQL prints. A text that is
//! cast to a time or to bytes is read as PostgreSQL reads it, or refused.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray};
use arrow::compute::cast as cast_array;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::Between;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility, when,
};

use super::compares;
use super::times::parse_times;
use crate::error::{Error, ErrorKind, Result};
use crate::format::text_array;

/// Replaces a cast from or to text.
pub(super) fn text_casts(expr: Expr, schema: &DFSchema) -> DataFusionResult<Transformed<Expr>> {
    let (inner, wanted, is_try) = match &expr {
        Expr::Cast(cast) => (&cast.expr, cast.field.data_type(), false),
        Expr::TryCast(cast) => (&cast.expr, cast.field.data_type(), true),
        _ => return Ok(rewrite_operands(expr, schema)),
    };
    let Ok(found) = inner.get_type(schema) else {
        return Ok(Transformed::no(expr));
    };
    let rewritten = match (is_text(&found), is_text(wanted)) {
        (false, true) if prints_otherwise(&found) => Some(to_text(inner.as_ref().clone())),
        (true, false) if is_read_otherwise(wanted) => {
            Some(from_text(inner.as_ref().clone(), wanted.clone(), is_try))
        }
        _ => None,
    };
    Ok(match rewritten {
        Some(rewritten) => Transformed::yes(rewritten),
        None => Transformed::no(expr),
    })
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        other => other.is_string(),
    }
}

/// Whether Arrow's text of the values differs from PostgreSQL's.
fn prints_otherwise(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => prints_otherwise(values),
        found => {
            found.is_floating() || found.is_temporal() || found.is_binary() || found.is_nested()
        }
    }
}

/// Whether Arrow reads a text of this type otherwise than PostgreSQL.
fn is_read_otherwise(wanted: &DataType) -> bool {
    matches!(wanted, DataType::Timestamp(..) | DataType::Time64(_)) || wanted.is_binary()
}

/// Casts operands that DataFusion would cast only when it coerces types.
fn rewrite_operands(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let type_of = |expr: &Expr| expr.get_type(schema).ok();
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::StringConcat,
            right,
        }) => {
            let is_printed = |expr: &Expr| {
                type_of(expr).is_some_and(|found| prints_otherwise(&found) && !found.is_list())
            };
            let types = [type_of(&left), type_of(&right)];
            let has_list = types.iter().flatten().any(DataType::is_list);
            let changes = !has_list && (is_printed(&left) || is_printed(&right));
            let print = |operand: Box<Expr>| match !has_list && is_printed(&operand) {
                true => Box::new(to_text(*operand)),
                false => operand,
            };
            let joined = BinaryExpr::new(print(left), Operator::StringConcat, print(right));
            Transformed::new_transformed(Expr::BinaryExpr(joined), changes)
        }
        Expr::BinaryExpr(mut binary) if compares(binary.op) => {
            let (left, right) = (type_of(&binary.left), type_of(&binary.right));
            let changes = [
                read_literal(&mut binary.left, right.as_ref()),
                read_literal(&mut binary.right, left.as_ref()),
            ];
            let is_changed = changes.contains(&true);
            Transformed::new_transformed(Expr::BinaryExpr(binary), is_changed)
        }
        Expr::Between(Between {
            expr,
            negated,
            mut low,
            mut high,
        }) => {
            let found = type_of(&expr);
            let changes = [
                read_literal(&mut low, found.as_ref()),
                read_literal(&mut high, found.as_ref()),
            ];
            let is_changed = changes.contains(&true);
            let between = Between::new(expr, negated, low, high);
            Transformed::new_transformed(Expr::Between(between), is_changed)
        }
        Expr::ScalarFunction(mut call) if ["concat", "concat_ws"].contains(&call.func.name()) => {
            let mut is_changed = false;
            for arg in &mut call.args {
                let printed = match type_of(arg) {
                    Some(DataType::Boolean) => letter(arg.clone()),
                    Some(found) if prints_otherwise(&found) && !found.is_list() => {
                        Some(to_text(arg.clone()))
                    }
                    _ => None,
                };
                if let Some(printed) = printed {
                    *arg = printed;
                    is_changed = true;
                }
            }
            Transformed::new_transformed(Expr::ScalarFunction(call), is_changed)
        }
        other => Transformed::no(other),
    }
}

/// `t` or `f`, as PostgreSQL's `concat` prints booleans.
fn letter(value: Expr) -> Option<Expr> {
    let text = |text: &str| Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None);
    when(value.clone(), text("t"))
        .when(Expr::Not(Box::new(value)), text("f"))
        .end()
        .ok()
}

/// Casts a literal text that is compared with times. Returns whether it did.
fn read_literal(literal: &mut Expr, compared: Option<&DataType>) -> bool {
    let is_literal = matches!(literal, Expr::Literal(value, _) if is_text(&value.data_type()));
    match compared {
        Some(wanted @ (DataType::Timestamp(..) | DataType::Time64(_))) if is_literal => {
            *literal = from_text(std::mem::take(literal), wanted.clone(), false);
            true
        }
        _ => false,
    }
}

fn to_text(value: Expr) -> Expr {
    ScalarUDF::from(Conversion::new(None, false)).call(vec![value])
}

/// Reads a text. A literal that can be read becomes a literal, which scans can compare with statistics.
fn from_text(text: Expr, wanted: DataType, is_try: bool) -> Expr {
    if let Expr::Literal(value, metadata) = &text
        && let Ok(texts) = value.to_array()
        && let Ok(read) = read(&texts, &wanted, is_try)
        && let Ok(read) = ScalarValue::try_from_array(&read, 0)
    {
        return Expr::Literal(read, metadata.clone());
    }
    ScalarUDF::from(Conversion::new(Some(wanted), is_try)).call(vec![text])
}

/// A cast from a value to text, or from text to `wanted`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Conversion {
    wanted: Option<DataType>,
    /// What can't be read is NULL.
    is_try: bool,
    signature: Signature,
}

impl Conversion {
    fn new(wanted: Option<DataType>, is_try: bool) -> Self {
        Self {
            wanted,
            is_try,
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::Internal, "a conversion has one argument")
}

impl ScalarUDFImpl for Conversion {
    fn name(&self) -> &str {
        match self.wanted {
            Some(_) => "from_text",
            None => "to_text",
        }
    }

    /// The argument's name, as for a cast: grouping sets find their columns by it.
    fn schema_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        let arg = args.first().ok_or_else(broken)?;
        Ok(arg.schema_name().to_string())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.wanted.clone().unwrap_or(DataType::Utf8))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        let arg = args.arg_fields.first().ok_or_else(broken)?;
        let data_type = self.return_type(&[])?;
        let is_nullable = arg.is_nullable() || self.is_try;
        Ok(Arc::new(Field::new(self.name(), data_type, is_nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return Err(broken().into());
        };
        let field = args.arg_fields.first().ok_or_else(broken)?;
        let is_scalar = matches!(value, ColumnarValue::Scalar(_));
        let array = match value {
            ColumnarValue::Array(array) => Arc::clone(array),
            ColumnarValue::Scalar(scalar) => scalar.to_array()?,
        };
        let converted: ArrayRef = match &self.wanted {
            None => Arc::new(text_array(field, &array)?),
            Some(wanted) => read(&array, wanted, self.is_try)?,
        };
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&converted, 0)?),
            false => ColumnarValue::Array(converted),
        })
    }
}

fn read(texts: &ArrayRef, wanted: &DataType, is_try: bool) -> DataFusionResult<ArrayRef> {
    let texts = cast_array(texts, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    if !wanted.is_binary() {
        return Ok(parse_times(texts, wanted, is_try)?);
    }
    let bytes = texts.iter().map(|text| match text.map(parse_bytes) {
        Some(Err(_)) if is_try => Ok(None),
        parsed => parsed.transpose(),
    });
    let bytes: BinaryArray = bytes.collect::<Result<_>>()?;
    Ok(cast_array(&bytes, wanted)?)
}

/// Reads bytes in PostgreSQL's hex or escape format.
/// See <https://www.postgresql.org/docs/15/datatype-binary.html>.
fn parse_bytes(text: &str) -> Result<Vec<u8>> {
    let invalid = || {
        let why = format!("invalid input for type bytea: \"{text}\"");
        Error::new(ErrorKind::InvalidParameter, why)
            .with_hint("write bytes as '\\x5c78', and a backslash as '\\\\'")
    };
    if let Some(hex) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = hex
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let value = |digit: u8| char::from(digit).to_digit(16);
        let pairs = digits.chunks(2).map(|pair| match pair {
            [high, low] => u8::try_from(value(*high)? * 16 + value(*low)?).ok(),
            _ => None,
        });
        return pairs.collect::<Option<Vec<u8>>>().ok_or_else(invalid);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                let octal = (a - b'0') * 64 + (b - b'0') * 8 + (c - b'0');
                (octal, after)
            }
            (b'\\', _) => return Err(invalid()),
            (first, after) => (*first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    Ok(bytes)
}
