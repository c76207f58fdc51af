//! Group commit: calls that arrive while a batch is being committed go together into the next.

use crate::{db::DbError, shutdown::Shutdown};
use std::{future::Future, sync::Arc};
use tokio::sync::{Mutex, mpsc, oneshot};

type Call<T, R> = (T, oneshot::Sender<Result<R, Arc<DbError>>>);

/// Turns single calls into batches without waiting for more to come: under no load a call runs alone and at once.
#[derive(Debug)]
pub struct Batcher<T, R> {
    calls: mpsc::Sender<Call<T, R>>,
}

impl<T, R> Clone for Batcher<T, R> {
    fn clone(&self) -> Self {
        Self {
            calls: self.calls.clone(),
        }
    }
}

impl<T: Send + 'static, R: Send + 'static> Batcher<T, R> {
    /// Starts a task that hands at most `most` calls at a time to `run`, which answers one result for each, in order.
    pub fn start<F, Fut>(shutdown: &Shutdown, most: usize, run: F) -> Self
    where
        F: Fn(Vec<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<R>, DbError>> + Send,
    {
        Self::start_lanes(shutdown, 1, most, run)
    }

    /// The same with `lanes` batches at a time: each takes what waits when it is free.
    pub fn start_lanes<F, Fut>(shutdown: &Shutdown, lanes: usize, most: usize, run: F) -> Self
    where
        F: Fn(Vec<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<R>, DbError>> + Send,
    {
        let (calls, waiting) = mpsc::channel::<Call<T, R>>(most.max(1) * 2);
        let (waiting, run) = (Arc::new(Mutex::new(waiting)), Arc::new(run));
        for _ in 0..lanes.max(1) {
            Self::lane(shutdown, Arc::clone(&waiting), most.max(1), Arc::clone(&run));
        }
        Self { calls }
    }

    fn lane<F, Fut>(shutdown: &Shutdown, waiting: Arc<Mutex<mpsc::Receiver<Call<T, R>>>>, most: usize, run: Arc<F>)
    where
        F: Fn(Vec<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<R>, DbError>> + Send,
    {
        // Ends when the last clone is gone, so that it outlives every task that may still call.
        shutdown.spawn(async move {
            let mut batch = Vec::with_capacity(most);
            // The lock is free again before the batch runs: the next lane waits for its own.
            while { waiting.lock().await.recv_many(&mut batch, most).await } > 0 {
                let (inputs, answers): (Vec<T>, Vec<_>) = batch.drain(..).unzip();
                match run(inputs).await {
                    // A caller that has gone does not want its answer.
                    Ok(results) => answers.into_iter().zip(results).for_each(|(answer, result)| {
                        let _ = answer.send(Ok(result));
                    }),
                    Err(error) => {
                        let error = Arc::new(error);
                        for answer in answers {
                            let _ = answer.send(Err(Arc::clone(&error)));
                        }
                    }
                }
            }
        });
    }

    /// Runs `input` in the next batch. A dropped call may still run.
    ///
    /// # Errors
    /// What the batch failed with.
    pub async fn call(&self, input: T) -> Result<R, DbError> {
        let (answer, result) = oneshot::channel();
        let stopped = || DbError::Deadline {
            during: "reach a batch that has stopped",
        };
        self.calls.send((input, answer)).await.map_err(|_| stopped())?;
        result.await.map_err(|_| stopped())?.map_err(DbError::Batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::Mutex as Locked;

    #[tokio::test]
    async fn calls_that_arrive_during_a_batch_share_the_next() {
        let shutdown = Shutdown::new();
        let sizes = Arc::new(Locked::new(Vec::new()));
        let seen = Arc::clone(&sizes);
        let batcher = Batcher::start(&shutdown, 8, move |inputs: Vec<u32>| {
            seen.lock().unwrap().push(inputs.len());
            async move { Ok(inputs.iter().map(|n| n * 2).collect()) }
        });
        let results = join_all((0..20).map(|n| batcher.call(n))).await;
        let doubled: Vec<u32> = results.into_iter().map(Result::unwrap).collect();
        assert_eq!(doubled, (0..20).map(|n| n * 2).collect::<Vec<_>>());
        drop(batcher);
        shutdown.finish().await;
        let sizes = sizes.lock().unwrap();
        assert!(sizes.len() < 20 && sizes.iter().all(|size| *size <= 8), "{sizes:?}");
    }

    #[tokio::test]
    async fn lanes_run_beside_one_another() {
        let shutdown = Shutdown::new();
        // Each batch waits for the other: alone, none of them would end.
        let both = Arc::new(tokio::sync::Barrier::new(2));
        let batcher = Batcher::start_lanes(&shutdown, 2, 1, move |inputs: Vec<u32>| {
            let both = Arc::clone(&both);
            async move {
                both.wait().await;
                Ok(inputs)
            }
        });
        let (first, second) = tokio::join!(batcher.call(1), batcher.call(2));
        assert_eq!((first.unwrap(), second.unwrap()), (1, 2));
        drop(batcher);
        shutdown.finish().await;
    }

    #[tokio::test]
    async fn every_caller_hears_of_a_failed_batch() {
        let shutdown = Shutdown::new();
        let batcher: Batcher<u32, u32> =
            Batcher::start(&shutdown, 8, |_| async { Err(DbError::Deadline { during: "test" }) });
        let results = join_all((0..3).map(|n| batcher.call(n))).await;
        assert!(
            results
                .iter()
                .all(|result| result.as_ref().is_err_and(DbError::is_transient))
        );
    }
}
