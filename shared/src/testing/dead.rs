//! Dead jobs for tests, without the attempts that they take.

use super::World;
use crate::{
    control::jobs::{self, NewJob},
    ids::{JobId, MediaId, TenantId, TraceId},
    jobs::Job,
    units::Millis,
};
use bytes::Bytes;

#[expect(clippy::expect_used, reason = "a test's fixture")]
impl World {
    /// A job of `tenant` that was given up at `given_up` because of `cause`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn dead<J: Job>(&self, tenant: Option<&TenantId>, payload: &J, cause: &str, given_up: Millis) -> JobId {
        let (clock, entropy) = (&self.services.clock, &self.services.entropy);
        let (id, trace) = (JobId::generate(clock, entropy), TraceId::generate(clock, entropy));
        let mut new = NewJob::of(id, payload, trace).expect("JSON");
        new.tenant = tenant.cloned();
        self.given_up(new, cause, given_up).await
    }

    /// An upload of the first tenant that was given up just now: staged and reserved.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn dead_upload(&self, bytes: impl Into<Bytes>) -> (MediaId, JobId) {
        let (media, new) = self.staged(bytes.into()).await;
        let now = self.services.clock.now();
        (media, self.given_up(new, "attempts-used-up", now).await)
    }

    async fn given_up(&self, mut new: NewJob, cause: &str, given_up: Millis) -> JobId {
        let control = &self.services.control;
        // No worker takes what is held, and nobody knows that it is.
        new.held = true;
        let accepted = jobs::accept(control, std::slice::from_ref(&new), given_up, false).await;
        accepted.expect("a database");
        let dead = "UPDATE jobs SET state = 'dead', held = 0, attempts = 12, cause_code = $1, cause = 'a server is away', \
            finished_at = created_at WHERE id = $2";
        self.execute(dead, &[cause, new.id.as_str()]).await;
        new.id
    }
}
