//! `sum` of integers and decimals.
//!
//! Invariant: sums of exact numbers are exact. A sum that its type can't hold is an error. Partial
//! sums have more digits than the result, so the order of the rows does not matter.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type,
};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    Signature,
};

use super::quotient::{Digits, NARROW, WIDE};
use crate::error::{Error, ErrorKind};

/// The type of partial sums, by the type of the sum. `None` if a sum of this type can't overflow, or
/// is not exact.
fn wide(sum: &DataType) -> Option<DataType> {
    match sum {
        DataType::Int64 | DataType::UInt64 => Some(DataType::Decimal128(NARROW, 0)),
        DataType::Decimal128(NARROW, places) | DataType::Decimal256(_, places) => {
            Some(DataType::Decimal256(WIDE, *places))
        }
        _ => None,
    }
}

/// DataFusion's `sum`, with [wider](wide) partial sums.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CheckedSum {
    inner: Sum,
}

impl CheckedSum {
    pub(crate) fn new() -> Self {
        Self { inner: Sum::new() }
    }
}

fn with_type(field: &FieldRef, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

fn widened<'a>(args: &AccumulatorArgs<'a>, wide: DataType) -> AccumulatorArgs<'a> {
    AccumulatorArgs {
        return_field: with_type(&args.return_field, wide),
        schema: args.schema,
        ignore_nulls: args.ignore_nulls,
        order_bys: args.order_bys,
        is_reversed: args.is_reversed,
        name: args.name,
        is_distinct: args.is_distinct,
        exprs: args.exprs,
        expr_fields: args.expr_fields,
    }
}

/// The accumulator that `create` makes, with wider partial sums.
fn checked(
    args: AccumulatorArgs,
    create: impl FnOnce(AccumulatorArgs) -> DataFusionResult<Box<dyn Accumulator>>,
) -> DataFusionResult<Box<dyn Accumulator>> {
    let data_type = args.return_field.data_type().clone();
    let Some(wide) = wide(&data_type) else {
        return create(args);
    };
    let inner = create(widened(&args, wide.clone()))?;
    Ok(Box::new(Checked {
        inner,
        wide,
        data_type,
    }))
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        let sum = self.inner.return_type(types)?;
        let [DataType::Decimal128(all, places)] = types else {
            return Ok(sum);
        };
        // DataFusion's sum has ten digits more than its argument, but at most 38.
        let all = all.saturating_add(10);
        let digits = Digits::of(&sum).map(|digits| Digits { all, ..digits });
        Ok(match digits.is_some_and(Digits::is_long) {
            true => DataType::Decimal256(all, *places),
            false => sum,
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DataFusionResult<Box<dyn Accumulator>> {
        checked(args, |args| self.inner.accumulator(args))
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> DataFusionResult<Box<dyn Accumulator>> {
        checked(args, |args| self.inner.create_sliding_accumulator(args))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DataFusionResult<Vec<FieldRef>> {
        let Some(wide) = wide(args.return_field.data_type()) else {
            return self.inner.state_fields(args);
        };
        self.inner.state_fields(StateFieldsArgs {
            return_field: with_type(&args.return_field, wide),
            ..args
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> DataFusionResult<Box<dyn GroupsAccumulator>> {
        let data_type = args.return_field.data_type().clone();
        let Some(wide) = wide(&data_type) else {
            return self.inner.create_groups_accumulator(args);
        };
        let inner = widened(&args, wide.clone());
        Ok(Box::new(CheckedGroups {
            inner: self.inner.create_groups_accumulator(inner)?,
            wide,
            data_type,
        }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The values of numbers as decimals of the type `wide`.
fn widen(values: &[ArrayRef], wide: &DataType) -> DataFusionResult<Vec<ArrayRef>> {
    let widen = |array: &ArrayRef| -> DataFusionResult<ArrayRef> {
        let widened = match array.data_type() {
            DataType::Int64 => wide_values::<Int64Type>(array),
            DataType::UInt64 => wide_values::<UInt64Type>(array),
            _ => return Ok(cast(array, wide)?),
        };
        Ok(Arc::new(widened.with_data_type(wide.clone())))
    };
    values.iter().map(widen).collect()
}

fn wide_values<T: ArrowPrimitiveType>(array: &ArrayRef) -> PrimitiveArray<Decimal128Type>
where
    T::Native: Into<i128>,
{
    arrow::compute::unary(array.as_primitive::<T>(), Into::into)
}

fn out_of_range(data_type: &DataType) -> DataFusionError {
    let why = format!("a sum is out of range of {data_type}");
    let error = Error::new(ErrorKind::NumberOutOfRange, why);
    let hint = match data_type {
        DataType::Decimal128(_, places) | DataType::Decimal256(_, places) => {
            format!("sum(CAST(x AS DECIMAL({WIDE}, {places}))) has {WIDE} digits")
        }
        _ => "sum(CAST(x AS DECIMAL(38, 0))) has 38 digits".to_owned(),
    };
    error.with_hint(hint).into()
}

/// A sum that gets its own type at the end.
#[derive(Debug)]
struct Checked {
    inner: Box<dyn Accumulator>,
    wide: DataType,
    data_type: DataType,
}

impl Accumulator for Checked {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        self.inner.update_batch(&widen(values, &self.wide)?)
    }

    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        let sum = self.inner.evaluate()?.to_array()?;
        let sum = narrow(&sum, &self.data_type)?;
        ScalarValue::try_from_array(&sum, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> DataFusionResult<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DataFusionResult<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        self.inner.retract_batch(&widen(values, &self.wide)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// Sums in their own type.
fn narrow(sums: &ArrayRef, data_type: &DataType) -> DataFusionResult<ArrayRef> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(sums, data_type, &options).map_err(|_| out_of_range(data_type))
}

/// The sums of many groups.
struct CheckedGroups {
    inner: Box<dyn GroupsAccumulator>,
    wide: DataType,
    data_type: DataType,
}

impl GroupsAccumulator for CheckedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> DataFusionResult<()> {
        let values = widen(values, &self.wide)?;
        self.inner
            .update_batch(&values, group_indices, filter, groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DataFusionResult<ArrayRef> {
        let sums = self.inner.evaluate(emit_to)?;
        narrow(&sums, &self.data_type)
    }

    fn state(&mut self, emit_to: EmitTo) -> DataFusionResult<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        groups: usize,
    ) -> DataFusionResult<()> {
        self.inner.merge_batch(values, group_indices, groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> DataFusionResult<Vec<ArrayRef>> {
        self.inner
            .convert_to_state(&widen(values, &self.wide)?, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
