//! Records that a scan passes over, because of `ignore_errors`.
//!
//! Invariant: every record that is passed over is counted, and the statement's notices say how many
//! there were, and what is wrong with some of them.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;

use crate::error::{Error, Result};
use crate::notices::Notices;

/// The number of records that a notice names.
const NAMED: usize = 3;

/// The records that were passed over so far.
#[derive(Debug, Default)]
pub(super) struct PassedOver {
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    count: u64,
    /// What is wrong with some of them: those that were found first.
    reasons: Vec<String>,
}

impl PassedOver {
    /// Nothing yet. The statement's notices will tell.
    pub(super) fn in_notices() -> Arc<Self> {
        let passed_over = Arc::new(Self::default());
        let told = Arc::clone(&passed_over);
        Notices::of_statement().add_later(move || told.describe());
        passed_over
    }

    /// Passes over a record with this error.
    pub(super) fn add(&self, error: &Error) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.count += 1;
        if found.reasons.len() < NAMED {
            found.reasons.push(error.message().to_owned());
        }
    }

    fn describe(&self) -> Option<String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let records = match found.count {
            0 => return None,
            1 => "1 record was".to_owned(),
            count => format!("{count} records were"),
        };
        let more = match found.count > NAMED as u64 {
            true => "; …",
            false => "",
        };
        let reasons = found.reasons.join("; ");
        Some(format!("{records} passed over: {reasons}{more}"))
    }

    /// Builds batches of the records in a range, except for those that can't be built, which are
    /// passed over.
    pub(super) fn build(
        &self,
        records: Range<usize>,
        build: &impl Fn(Range<usize>) -> Result<RecordBatch>,
    ) -> Vec<RecordBatch> {
        let (start, end) = (records.start, records.end);
        match build(records) {
            Ok(batch) => vec![batch],
            Err(error) if end - start <= 1 => {
                self.add(&error);
                Vec::new()
            }
            // A batch tells only its first bad record, so its halves are built by themselves.
            Err(_) => {
                let middle = start + (end - start) / 2;
                let mut batches = self.build(start..middle, build);
                batches.extend(self.build(middle..end, build));
                batches
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use arrow::array::Int64Array;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn good_records_stay_in_order(is_bad in proptest::collection::vec(any::<bool>(), 0..50)) {
            let build = |records: Range<usize>| {
                if let Some(bad) = records.clone().find(|record| is_bad[*record]) {
                    return Err(Error::new(ErrorKind::Query, format!("line {bad}")));
                }
                let values = Int64Array::from_iter_values(records.map(|record| record as i64));
                let column: arrow::array::ArrayRef = Arc::new(values);
                Ok(RecordBatch::try_from_iter([("record", column)]).unwrap())
            };
            let passed_over = PassedOver::default();
            let batches = passed_over.build(0..is_bad.len(), &build);
            let mut found = Vec::new();
            for batch in &batches {
                let values = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
                found.extend(values.values().iter().map(|record| *record as usize));
            }
            let good: Vec<usize> = (0..is_bad.len()).filter(|record| !is_bad[*record]).collect();
            prop_assert_eq!(&found, &good);
            let bad: Vec<String> = (0..is_bad.len())
                .filter(|record| is_bad[*record])
                .map(|record| format!("line {record}"))
                .collect();
            let expected = match bad.len() {
                0 => None,
                1 => Some(format!("1 record was passed over: {}", bad[0])),
                count if count > NAMED => {
                    let named = bad[..NAMED].join("; ");
                    Some(format!("{count} records were passed over: {named}; …"))
                }
                count => Some(format!("{count} records were passed over: {}", bad.join("; "))),
            };
            prop_assert_eq!(passed_over.describe(), expected);
        }
    }
}
