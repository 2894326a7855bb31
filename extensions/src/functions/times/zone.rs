//! `AT TIME ZONE`.
//!
//! Invariant: a timestamp without a zone becomes the instant at which clocks in the zone show it; an
//! instant becomes what clocks in the zone show.
//! See <https://www.postgresql.org/docs/15/functions-datetime.html#FUNCTIONS-DATETIME-ZONECONVERT>.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::error::{Error, ErrorKind, Result};

/// The instant at which clocks in `zone` show `local`, in UTC. `None` if it is out of range.
///
/// An hour that clocks skip is counted from before; of an hour that clocks show twice, the later one
/// is meant.
pub(super) fn instant_of(local: NaiveDateTime, zone: &Tz) -> Option<NaiveDateTime> {
    match zone.offset_from_local_datetime(&local) {
        LocalResult::Single(offset) | LocalResult::Ambiguous(_, offset) => {
            local.checked_sub_offset(offset.fix())
        }
        LocalResult::None => {
            let before = local.checked_sub_signed(TimeDelta::hours(3))?;
            let offset = zone.offset_from_local_datetime(&before).earliest()?;
            local.checked_sub_offset(offset.fix())
        }
    }
}

/// `timezone(zone, timestamp)`, which `AT TIME ZONE` calls.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct AtTimeZone {
    signature: Signature,
}

impl AtTimeZone {
    pub(crate) fn new() -> Self {
        let signature = Signature::any(2, Volatility::Immutable);
        Self { signature }
    }
}

fn refuse(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, why)
}

impl ScalarUDFImpl for AtTimeZone {
    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        match types {
            [zone, DataType::Timestamp(_, None) | DataType::Date32] if zone.is_string() => Ok(
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ),
            [zone, DataType::Timestamp(_, Some(_))] if zone.is_string() => {
                Ok(DataType::Timestamp(TimeUnit::Microsecond, None))
            }
            _ => {
                let why = "AT TIME ZONE needs a timestamp and the name of a time zone";
                Err(Error::new(ErrorKind::DatatypeMismatch, why).into())
            }
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let wanted = args.return_field.data_type();
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [zones, times] = arrays.as_slice() else {
            return Err(Error::new(ErrorKind::Internal, "timezone has two arguments").into());
        };
        let zones = cast(zones, &DataType::Utf8)?;
        let is_instant = matches!(times.data_type(), DataType::Timestamp(_, Some(_)));
        // Without a zone, an instant would be cast to what its own zone shows.
        let zone = is_instant.then(|| "UTC".into());
        let micros = cast(times, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
        let micros = micros.as_primitive::<TimestampMicrosecondType>();
        let mut last: Option<(String, Tz)> = None;
        let converted = zones
            .as_string::<i32>()
            .iter()
            .zip(micros)
            .map(|(zone, micros)| {
                let (Some(name), Some(micros)) = (zone, micros) else {
                    return Ok(None);
                };
                let zone = match &last {
                    Some((known, zone)) if known == name => *zone,
                    _ => {
                        let zone = parse_zone(name)?;
                        last = Some((name.to_owned(), zone));
                        zone
                    }
                };
                let out_of_range = || refuse("a timestamp is out of range");
                let time = DateTime::from_timestamp_micros(micros).ok_or_else(out_of_range)?;
                let time = time.naive_utc();
                let converted = match is_instant {
                    true => {
                        let offset = zone.offset_from_utc_datetime(&time);
                        time.checked_add_offset(offset.fix())
                    }
                    false => instant_of(time, &zone),
                };
                let converted = converted.ok_or_else(out_of_range)?;
                Ok(Some(converted.and_utc().timestamp_micros()))
            });
        let converted: Int64Array = converted.collect::<Result<_>>()?;
        let converted: ArrayRef = Arc::new(converted);
        Ok(ColumnarValue::Array(cast(&converted, wanted)?))
    }
}

/// A zone by its name. PostgreSQL counts offsets such as `+02` to the west, others to the east.
fn parse_zone(name: &str) -> Result<Tz> {
    let name = name.trim();
    if name.starts_with(['+', '-']) {
        let why = format!("the time zone '{name}' is ambiguous");
        return Err(refuse(why).with_hint("write a name, such as 'Europe/Berlin' or 'Etc/GMT-2'"));
    }
    name.parse().map_err(|_| {
        refuse(format!("unknown time zone '{name}'"))
            .with_hint("write a name, such as 'Europe/Berlin' or 'UTC'")
    })
}
