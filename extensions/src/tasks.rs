//! Work on several threads at once.
//!
//! Invariant: if a task panics, its caller gets an error and does not wait forever.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{JoinError, JoinSet};

use crate::error::{Error, ErrorKind, Result};

/// The result of a joined task; a panic becomes an error.
pub(crate) fn finished<T>(joined: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    joined.unwrap_or_else(|error| {
        Err(match error.try_into_panic() {
            Ok(panic) => Error::from_panic(panic.as_ref()),
            Err(error) => {
                Error::new(ErrorKind::Internal, "a task of the export died").with_source(error)
            }
        })
    })
}

/// Runs CPU-bound `work` on each item, on at most `threads` threads, and returns the results in the
/// order of the items. A thread that is done takes the next item, so items may differ in cost. With
/// one thread, all work runs in the caller's task.
///
/// # Errors
/// The first error of `work`, by time.
pub(crate) async fn map_on_threads<T, R>(
    items: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> Result<R> + Clone + Send + 'static,
) -> Result<Vec<R>>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let threads = threads.min(items.len());
    if threads <= 1 {
        return items.into_iter().map(work).collect();
    }
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let queue = Arc::new(Mutex::new(items.into_iter().enumerate()));
    let mut tasks = JoinSet::new();
    for _ in 0..threads {
        let (queue, work) = (Arc::clone(&queue), work.clone());
        tasks.spawn(async move {
            let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let done: Result<Vec<_>> = std::iter::from_fn(next)
                .map(|(place, item)| Ok((place, work(item)?)))
                .collect();
            if done.is_err() {
                // Empty the queue, so that the other threads stop.
                while next().is_some() {}
            }
            done
        });
    }
    while let Some(joined) = tasks.join_next().await {
        for (place, result) in finished(joined)? {
            results[place] = Some(result);
        }
    }
    Ok(results.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn results_keep_the_order_of_the_items() {
        for threads in [0, 1, 3, 200] {
            let doubled = map_on_threads((0..100).collect(), threads, |item| Ok(item * 2)).await;
            assert_eq!(doubled.unwrap(), (0..200).step_by(2).collect::<Vec<_>>());
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_error_and_a_panic_are_errors() {
        let refuse = |item: u32| match item {
            7 => Err(Error::new(ErrorKind::Query, "seven")),
            _ => Ok(item),
        };
        let error = map_on_threads((0..20).collect(), 2, refuse).await;
        assert_eq!(error.unwrap_err().message(), "seven");
        let die = |item: u32| if item == 7 { panic!("seven") } else { Ok(item) };
        let error = map_on_threads((0..20).collect(), 2, die).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Internal);
    }
}
