//! `objects.remove`: objects that no row speaks of go, when their storage answers again.

use super::files::{delete, is_recorded, may_come_to_be_recorded};
use crate::context::JobContext;
use mediamill_shared::{
    BoxError,
    jobs::{JobError, Reason, RemoveObjects, ResultExt},
    objects::ObjectKey,
    placement::Spot,
};

pub(crate) async fn run(job: RemoveObjects, cx: &JobContext) -> Result<(), JobError> {
    const BAD: &str = "an object's place or key is none";
    let db = cx.tenant_db()?;
    if may_come_to_be_recorded(&job.media, cx).await? {
        return Err(JobError::transient("the picture is being moved"));
    }
    let mut failed: Option<BoxError> = None;
    for (spot, key) in &job.objects {
        let spot: Spot = spot.parse().permanent(Reason::UNREADABLE_PAYLOAD, BAD)?;
        let key: ObjectKey = key.parse().permanent(Reason::UNREADABLE_PAYLOAD, BAD)?;
        // Each time: what storages do in between takes long.
        let files = db.variants(&job.media).await.transient()?;
        if is_recorded(&files, &spot, &key) {
            continue;
        }
        failed = delete(&spot, &key, cx).await.err().or(failed);
    }
    failed.map_or(Ok(()), |source| Err(JobError::transient(source)))
}
