//! Where this worker decodes pictures: in helper processes, or in its own.

use crate::{
    admission::Permit,
    context::JobContext,
    helpers::{Died, HelperPool, Helpers, NotMade, Picture, Task},
    runner::Settings,
};
use bytes::Bytes;
use mediamill_media::{MediaError, Settings as Wanted};
use mediamill_shared::jobs::{JobError, Reason};
use std::{sync::Arc, time::Duration};

/// A helper that has seen a picture is idle for so long at most.
const IDLE: Duration = Duration::from_secs(60);
/// Attempts that a picture has at least before it is called one that no decoder survives.
const ATTEMPTS: i64 = 3;

/// Makes pictures.
#[derive(Debug, Clone)]
pub(crate) enum Decoder {
    /// On the worker's own threads.
    Inline,
    /// In processes of their own.
    Helpers(Arc<HelperPool>),
}

impl Decoder {
    pub(crate) fn of(settings: &Settings) -> Self {
        match &settings.helpers {
            Helpers::Inline => Self::Inline,
            Helpers::Program(program) => {
                let pool = HelperPool::new(program.clone(), settings.processors, settings.helper_time);
                Self::Helpers(Arc::new(pool))
            }
        }
    }

    /// Memory of the machine that a picture takes: `needed` by the engine, for a file of `input` bytes.
    pub(crate) const fn memory(&self, needed: u64, input: u64) -> u64 {
        match self {
            Self::Inline => needed,
            // The worker has the file until its helper has it.
            Self::Helpers(_) => needed.saturating_add(input),
        }
    }

    /// Gets ready, and says once what stands between a hostile picture and this machine.
    pub(crate) async fn open(&self) {
        let Self::Helpers(pool) = self else {
            tracing::warn!(
                "pictures are decoded in the worker's own process: a decoder that is taken over has all that the worker has"
            );
            return;
        };
        match pool.open().await {
            Ok(confinement) => {
                tracing::info!(
                    "pictures are decoded in helper processes: {}",
                    confinement.active.join(", ")
                );
                for missing in confinement.missing {
                    tracing::warn!(
                        step = missing.step,
                        "helper processes are less confined than they could be: {}: {}; {}",
                        missing.step,
                        missing.problem,
                        missing.advice
                    );
                }
            }
            // Pictures wait, and say so; the next one tries again.
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "no helper process"),
        }
    }

    /// Looks after helpers that have nothing to do; called every few seconds.
    pub(crate) async fn look_after(&self) {
        if let Self::Helpers(pool) = self {
            pool.end_idle(IDLE).await;
        }
    }

    pub(crate) async fn close(&self) {
        if let Self::Helpers(pool) = self {
            pool.close().await;
        }
    }

    /// Makes what `T` says of `bytes`, for which the engine needs `needed` bytes of memory; `permit` is for these, and comes back
    /// as one for the files that were made: until they are in their store they are in memory.
    ///
    /// # Errors
    /// Permanent when the bytes are no picture, or when the third or a later try ends its decoder like the one before it.
    pub(crate) async fn make<T: Task>(
        &self,
        cx: &JobContext,
        bytes: Bytes,
        wanted: Wanted,
        needed: u64,
        mut permit: Permit,
    ) -> Result<(T::Made, Permit), JobError> {
        let made = match self {
            Self::Inline => {
                let cancel = cx.cancel.clone();
                let work = move || {
                    let made = T::here(&bytes, &wanted, &|| cancel.is_cancelled());
                    drop(bytes);
                    // With the work, which goes on where nobody waits for it any more.
                    (made, permit)
                };
                let made = cx.compute(work).await?;
                permit = made.1;
                made.0.map_err(refused)?
            }
            Self::Helpers(pool) => {
                let _processor = cx.processor().await;
                let picture = Picture {
                    tenant: cx.tenant()?.id(),
                    bytes,
                    settings: &wanted,
                    memory: needed,
                };
                pool.make::<T>(picture).await.map_err(|error| not_made(error, cx))?
            }
        };
        permit.shrink(T::bytes(&made));
        Ok((made, permit))
    }
}

/// The engine's word that a picture is not to be had from these bytes.
pub(crate) fn refused(error: MediaError) -> JobError {
    if matches!(error, MediaError::Cancelled) {
        return JobError::transient(error);
    }
    JobError::Permanent {
        reason: Reason::new(error.code(), error.to_string()),
        source: Some(Box::new(error)),
    }
}

fn not_made(error: NotMade, cx: &JobContext) -> JobError {
    match error {
        NotMade::Refused(refusal) => JobError::Permanent {
            reason: Reason::new(refusal.code.clone(), refusal.text.clone()),
            source: Some(Box::new(refusal)),
        },
        NotMade::Died(died) => after_death(died, cx.tries, cx.last_cause.as_deref()),
        NotMade::NotStarted(error) => JobError::transient(error),
    }
}

/// A helper may die of other things than its picture: it is shown to another. What ends one decoder after the other is
/// given up, with the last one's cause.
fn after_death(died: Died, tries: i64, last_cause: Option<&str>) -> JobError {
    if tries < ATTEMPTS || last_cause != Some(Reason::DECODER_DIED) {
        return JobError::transient(died);
    }
    JobError::Permanent {
        reason: Reason::new(Reason::DECODER_DIED, format!("no decoder survives the picture: {died}")),
        source: Some(Box::new(died)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helpers::Cause;

    #[test]
    fn a_picture_is_given_up_when_decoders_die_of_it_one_after_the_other() {
        let given_up = |attempt, last| {
            let died = Died {
                cause: Cause::Signal(11),
                words: String::new(),
            };
            matches!(after_death(died, attempt, last), JobError::Permanent { .. })
        };
        let died = Some(Reason::DECODER_DIED);
        assert!(!given_up(1, None) && !given_up(2, died) && given_up(3, died));
        // After an outage of something else the picture is innocent again.
        assert!(!given_up(7, Some("transient")) && given_up(8, died));
        // An operator's retry begins anew.
        assert!(!given_up(1, died));
    }
}
