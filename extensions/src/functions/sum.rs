//! `sum` of integers.
//!
//! Invariant: sums of integers are exact. A sum that its type can't hold is an error. Partial sums
//! have 38 digits, so the order of the rows does not matter.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray};
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

use crate::error::{Error, ErrorKind};

/// The type of partial sums of integers.
const WIDE: DataType = DataType::Decimal128(38, 0);

/// DataFusion's `sum`, which sums integers as decimals.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CheckedSum {
    inner: Sum,
}

impl CheckedSum {
    pub(super) fn new() -> Self {
        Self { inner: Sum::new() }
    }
}

fn is_checked(field: &FieldRef) -> bool {
    matches!(field.data_type(), DataType::Int64 | DataType::UInt64)
}

fn wide_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), WIDE, field.is_nullable()))
}

fn widened<'a>(args: &AccumulatorArgs<'a>) -> AccumulatorArgs<'a> {
    AccumulatorArgs {
        return_field: wide_field(&args.return_field),
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

/// The accumulator that `create` makes; integers are summed by one of decimals.
fn checked(
    args: AccumulatorArgs,
    create: impl FnOnce(AccumulatorArgs) -> DataFusionResult<Box<dyn Accumulator>>,
) -> DataFusionResult<Box<dyn Accumulator>> {
    if !is_checked(&args.return_field) {
        return create(args);
    }
    let data_type = args.return_field.data_type().clone();
    let inner = create(widened(&args))?;
    Ok(Box::new(Checked { inner, data_type }))
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        self.inner.return_type(types)
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
        if !is_checked(&args.return_field) {
            return self.inner.state_fields(args);
        }
        self.inner.state_fields(StateFieldsArgs {
            return_field: wide_field(&args.return_field),
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
        if !is_checked(&args.return_field) {
            return self.inner.create_groups_accumulator(args);
        }
        Ok(Box::new(CheckedGroups {
            inner: self.inner.create_groups_accumulator(widened(&args))?,
            data_type: args.return_field.data_type().clone(),
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

/// The values of integers as decimals.
fn widen(values: &[ArrayRef]) -> DataFusionResult<Vec<ArrayRef>> {
    let widen = |array: &ArrayRef| -> DataFusionResult<ArrayRef> {
        let wide = match array.data_type() {
            DataType::Int64 => wide_values::<Int64Type>(array),
            DataType::UInt64 => wide_values::<UInt64Type>(array),
            _ => return Ok(arrow::compute::cast(array, &WIDE)?),
        };
        Ok(Arc::new(wide.with_data_type(WIDE)))
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
    let error = Error::new(ErrorKind::Query, why);
    error
        .with_hint("sum(CAST(x AS DECIMAL(38, 0))) has 38 digits")
        .into()
}

/// A sum of integers, as integers of their type again.
#[derive(Debug)]
struct Checked {
    inner: Box<dyn Accumulator>,
    data_type: DataType,
}

impl Accumulator for Checked {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DataFusionResult<()> {
        self.inner.update_batch(&widen(values)?)
    }

    fn evaluate(&mut self) -> DataFusionResult<ScalarValue> {
        let ScalarValue::Decimal128(sum, ..) = self.inner.evaluate()? else {
            return Err(out_of_range(&self.data_type));
        };
        let failed = |_| out_of_range(&self.data_type);
        Ok(match self.data_type {
            DataType::UInt64 => {
                let sum = sum.map(u64::try_from).transpose().map_err(failed)?;
                ScalarValue::UInt64(sum)
            }
            _ => {
                let sum = sum.map(i64::try_from).transpose().map_err(failed)?;
                ScalarValue::Int64(sum)
            }
        })
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
        self.inner.retract_batch(&widen(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// The sums of integers of many groups.
struct CheckedGroups {
    inner: Box<dyn GroupsAccumulator>,
    data_type: DataType,
}

impl CheckedGroups {
    fn narrow<T: ArrowPrimitiveType>(&self, sums: &ArrayRef) -> DataFusionResult<ArrayRef>
    where
        T::Native: TryFrom<i128>,
    {
        let sums = sums.as_primitive::<Decimal128Type>();
        let narrow =
            |sum: i128| T::Native::try_from(sum).map_err(|_| out_of_range(&self.data_type));
        let narrowed: PrimitiveArray<T> = arrow::compute::try_unary(sums, |sum| {
            narrow(sum).map_err(|error| arrow::error::ArrowError::ExternalError(Box::new(error)))
        })?;
        Ok(Arc::new(narrowed))
    }
}

impl GroupsAccumulator for CheckedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> DataFusionResult<()> {
        let values = widen(values)?;
        self.inner
            .update_batch(&values, group_indices, filter, groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DataFusionResult<ArrayRef> {
        let sums = self.inner.evaluate(emit_to)?;
        match self.data_type {
            DataType::UInt64 => self.narrow::<UInt64Type>(&sums),
            _ => self.narrow::<Int64Type>(&sums),
        }
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
        self.inner.convert_to_state(&widen(values)?, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
