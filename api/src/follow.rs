//! Waiting for jobs: one task hears the signals and wakes whoever follows that job.
//!
//! A signal may be lost, so a follower looks at the row before it waits, and again every second.

use mediamill_shared::{
    cache::{CachePort, JOB_CHANNEL},
    control::jobs::{self, JobRow},
    db::DbError,
    ids::JobId,
    services::Services,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, broadcast::error::RecvError};

/// A look in case a signal was lost.
const LOOK: Duration = Duration::from_secs(1);

type Followed = HashMap<String, Arc<Notify>>;

/// Who follows which job. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Followers(Arc<Mutex<Followed>>);

/// One follower of a job; the last one's end forgets the job.
pub(crate) struct Follower {
    followers: Followers,
    services: Services,
    job: JobId,
    notify: Arc<Notify>,
}

impl Followers {
    pub(crate) fn start(services: &Services) -> Self {
        let followers = Self::default();
        let mut signals = services.cache.listen();
        let (shutdown, shared) = (services.shutdown.clone(), followers.clone());
        services.shutdown.spawn(async move {
            loop {
                let signal = tokio::select! { () = shutdown.soft() => return, signal = signals.recv() => signal };
                match signal {
                    Ok(signal) if signal.channel == JOB_CHANNEL => {
                        let job = signal.message.split(' ').next().unwrap_or_default();
                        if let Some(notify) = shared.lock().get(job) {
                            notify.notify_waiters();
                        }
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => shared.lock().values().for_each(|notify| notify.notify_waiters()),
                    Err(RecvError::Closed) => return,
                }
            }
        });
        followers
    }

    fn lock(&self) -> MutexGuard<'_, Followed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn follow(&self, services: &Services, job: &JobId) -> Follower {
        let notify = Arc::clone(self.lock().entry(job.to_string()).or_default());
        Follower {
            followers: self.clone(),
            services: services.clone(),
            job: job.clone(),
            notify,
        }
    }
}

impl Follower {
    /// Waits until `news` says that the row is worth it. `None`: there is no such job. Cancel-safe.
    pub(crate) async fn until(&self, news: impl Fn(&JobRow) -> bool) -> Result<Option<JobRow>, DbError> {
        loop {
            let mut woken = std::pin::pin!(self.notify.notified());
            woken.as_mut().enable();
            match jobs::get(&self.services.control, &self.job).await? {
                Some(row) if !news(&row) => {}
                found => return Ok(found),
            }
            tokio::select! { () = woken => {}, () = self.services.clock.sleep(LOOK) => {} }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut followed = self.followers.lock();
        // The map's own share and this one.
        if Arc::strong_count(&self.notify) <= 2 {
            followed.remove(self.job.as_str());
        }
    }
}
