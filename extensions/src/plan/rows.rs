//! Distributes the query's rows over the writers.
//!
//! Invariant: every batch goes to exactly one writer. A writer steals batches only after its own
//! rows have ended, and only from a writer that has taken [`PLENTY_BATCHES`] batches.
//!
//! Stealing lets all writers end at about the same time. But it may start an extra file, which is
//! not worth it for little data.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow::array::RecordBatch;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::sync::{Mutex as AsyncMutex, watch};

/// After a writer has taken this many batches of its own rows, idle writers may steal the rest.
const PLENTY_BATCHES: usize = 64;

/// The rows of all writers of one export. The writers own the rows, because a plan may outlive its
/// query.
#[derive(Default)]
pub(super) struct QueryRows {
    writers: Mutex<Vec<Weak<AsyncMutex<OwnRows>>>>,
    status: watch::Sender<Status>,
}

/// How many writers have rows of their own left, and from how many of these others may steal.
#[derive(Debug, Default)]
struct Status {
    open: usize,
    plentiful: usize,
}

impl fmt::Debug for QueryRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryRows").finish_non_exhaustive()
    }
}

impl QueryRows {
    /// Registers the rows of a writer, from which other writers may steal.
    pub(super) fn share(self: &Arc<Self>, rows: SendableRecordBatchStream) -> WriterRows {
        self.status.send_modify(|status| status.open += 1);
        let shared = WriterRows::new(rows, Some(Arc::clone(self)));
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.push(Arc::downgrade(&shared.own));
        shared
    }

    fn of_all_writers(&self) -> Vec<Arc<AsyncMutex<OwnRows>>> {
        let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.iter().filter_map(Weak::upgrade).collect()
    }

    fn has_plenty(&self) -> bool {
        self.status.borrow().plentiful > 0
    }

    /// Waits until there is a writer to steal from, or until no writer has rows left.
    async fn wait_for_plenty(&self) {
        let mut status = self.status.subscribe();
        let known = status.wait_for(|status| status.plentiful > 0 || status.open == 0);
        let _ = known.await;
    }

    /// Steals the next batch. Rows that another writer has locked are tried last. `None` if there
    /// is no writer to steal from.
    async fn next(&self) -> Option<DataFusionResult<RecordBatch>> {
        while self.has_plenty() {
            let writers = self.of_all_writers();
            let mut busy = Vec::new();
            for rows in &writers {
                let Ok(mut rows) = rows.try_lock() else {
                    busy.push(rows);
                    continue;
                };
                if let Some(batch) = rows.next_of_plenty().await {
                    return Some(batch);
                }
            }
            for rows in busy {
                if let Some(batch) = rows.lock().await.next_of_plenty().await {
                    return Some(batch);
                }
            }
        }
        None
    }
}

/// The rows that one writer writes: its own, and stolen rows.
pub(super) struct WriterRows {
    own: Arc<AsyncMutex<OwnRows>>,
    query: Option<Arc<QueryRows>>,
}

impl WriterRows {
    /// Rows that are not shared: no other writer steals them, and their writer steals none.
    pub(super) fn alone(rows: SendableRecordBatchStream) -> Self {
        Self::new(rows, None)
    }

    fn new(rows: SendableRecordBatchStream, query: Option<Arc<QueryRows>>) -> Self {
        let own = OwnRows {
            rows: Some(rows),
            taken: 0,
            query: query.clone(),
        };
        Self {
            own: Arc::new(AsyncMutex::new(own)),
            query,
        }
    }

    /// The next batch, own or stolen; `None` if there is nothing left to write.
    pub(super) async fn next(&mut self) -> Option<DataFusionResult<RecordBatch>> {
        let mut own = self.own.lock().await;
        if let Some(batch) = own.next().await {
            return Some(batch);
        }
        let had_rows = own.taken > 0;
        drop(own);
        let query = self.query.as_ref()?;
        if !had_rows {
            // A writer without rows has no file to close, so it can wait for rows to steal.
            query.wait_for_plenty().await;
        }
        query.next().await
    }
}

/// The rows of one writer's partitions.
struct OwnRows {
    /// None once they have ended.
    rows: Option<SendableRecordBatchStream>,
    /// How many batches were taken, by this writer or by others.
    taken: usize,
    query: Option<Arc<QueryRows>>,
}

impl OwnRows {
    async fn next(&mut self) -> Option<DataFusionResult<RecordBatch>> {
        let batch = self.rows.as_mut()?.next().await;
        match &batch {
            Some(_) => self.count(),
            None => self.end(),
        }
        batch
    }

    async fn next_of_plenty(&mut self) -> Option<DataFusionResult<RecordBatch>> {
        match self.has_plenty() {
            true => self.next().await,
            false => None,
        }
    }

    fn has_plenty(&self) -> bool {
        self.rows.is_some() && self.taken >= PLENTY_BATCHES
    }

    fn count(&mut self) {
        self.taken += 1;
        if let (PLENTY_BATCHES, Some(query)) = (self.taken, &self.query) {
            query.status.send_modify(|status| status.plentiful += 1);
        }
    }

    fn end(&mut self) {
        let had_plenty = self.has_plenty();
        if let (Some(_), Some(query)) = (self.rows.take(), &self.query) {
            query.status.send_modify(|status| {
                status.open -= 1;
                status.plentiful -= usize::from(had_plenty);
            });
        }
    }
}

impl Drop for OwnRows {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::SchemaRef;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

    use super::*;

    fn batch(value: i64) -> RecordBatch {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![value]));
        RecordBatch::try_from_iter([("value", values)]).unwrap()
    }

    fn rows(values: std::ops::Range<i64>) -> SendableRecordBatchStream {
        let schema: SchemaRef = batch(0).schema();
        let batches = futures::stream::iter(values.map(|value| Ok(batch(value))));
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }

    async fn next(rows: &mut WriterRows) -> Option<i64> {
        let batch = rows.next().await?.unwrap();
        let values = batch.column(0).as_any().downcast_ref::<Int64Array>();
        Some(values.unwrap().value(0))
    }

    const PLENTY: i64 = PLENTY_BATCHES as i64;

    /// Takes batches until other writers may steal the rest.
    async fn take_plenty(rows: &mut WriterRows) {
        for value in 0..PLENTY {
            assert_eq!(next(rows).await, Some(value));
        }
    }

    #[tokio::test]
    async fn who_has_finished_takes_what_others_have_left() {
        let query = Arc::new(QueryRows::default());
        let mut short = query.share(rows(-1..0));
        let mut long = query.share(rows(0..PLENTY + 4));
        take_plenty(&mut long).await;
        assert_eq!(next(&mut short).await, Some(-1));
        assert_eq!(next(&mut short).await, Some(PLENTY));
        assert_eq!(next(&mut long).await, Some(PLENTY + 1));
        assert_eq!(next(&mut short).await, Some(PLENTY + 2));
        assert_eq!(next(&mut long).await, Some(PLENTY + 3));
        assert_eq!(next(&mut short).await, None);
        assert_eq!(next(&mut long).await, None);
    }

    #[tokio::test]
    async fn nobody_takes_of_little() {
        let query = Arc::new(QueryRows::default());
        let mut short = query.share(rows(-1..0));
        let mut other = query.share(rows(0..PLENTY - 1));
        assert_eq!(next(&mut short).await, Some(-1));
        assert_eq!(next(&mut other).await, Some(0));
        assert_eq!(next(&mut short).await, None);

        let mut empty = query.share(rows(0..0));
        let all_of_other = async { while next(&mut other).await.is_some() {} };
        let (nothing, ()) = tokio::join!(next(&mut empty), all_of_other);
        assert_eq!(nothing, None);
    }

    #[tokio::test]
    async fn who_had_nothing_waits_for_plenty() {
        let query = Arc::new(QueryRows::default());
        let mut empty = query.share(rows(0..0));
        let mut other = query.share(rows(0..PLENTY + 2));
        let (some, ()) = tokio::join!(next(&mut empty), take_plenty(&mut other));
        assert_eq!(some, Some(PLENTY));
        assert_eq!(next(&mut empty).await, Some(PLENTY + 1));
        assert_eq!(next(&mut empty).await, None);
        assert_eq!(next(&mut other).await, None);
    }

    /// A waiting writer wakes up also when all other writers are dropped.
    #[tokio::test]
    async fn who_had_nothing_does_not_wait_for_the_dropped() {
        let query = Arc::new(QueryRows::default());
        let mut empty = query.share(rows(0..0));
        let other = query.share(rows(0..2));
        let (nothing, ()) = tokio::join!(next(&mut empty), async { drop(other) });
        assert_eq!(nothing, None);
    }

    #[tokio::test]
    async fn rows_that_belong_together_are_not_shared() {
        let query = Arc::new(QueryRows::default());
        let mut shared = query.share(rows(-1..0));
        let mut alone = WriterRows::alone(rows(0..PLENTY + 1));
        take_plenty(&mut alone).await;
        assert_eq!(next(&mut shared).await, Some(-1));
        assert_eq!(next(&mut shared).await, None);
        assert_eq!(next(&mut alone).await, Some(PLENTY));
        assert_eq!(next(&mut alone).await, None);
    }

    /// A dropped writer's rows are dropped with it, even if the plan is kept.
    #[tokio::test]
    async fn dropped_rows_are_gone() {
        let query = Arc::new(QueryRows::default());
        let mut first = query.share(rows(-1..0));
        let mut dropped = query.share(rows(0..PLENTY + 1));
        take_plenty(&mut dropped).await;
        drop(dropped);
        assert_eq!(next(&mut first).await, Some(-1));
        assert_eq!(next(&mut first).await, None);
        assert_eq!(query.of_all_writers().len(), 1);
    }
}
