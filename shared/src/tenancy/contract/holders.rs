//! Who holds a picture, while it becomes one.

use super::two::picture;
use crate::{
    clock::Clock,
    ids::{JobId, UserId},
    tenancy::{
        Limits, TenantDb,
        store::{
            holders::Deleted,
            media::Media,
            usage::{Settled, Usage},
        },
    },
    testing::World,
};
use std::{pin::pin, task::Poll};

crate::on_both_sides!(
    a_picture_that_becomes_one_meanwhile_is_held,
    a_hold_that_came_since_is_not_let_go_again,
);

/// Makes the picture and counts it, as its job does at its end.
async fn make(db: &TenantDb, job: &JobId, media: &Media, holder: &UserId) {
    let change = Usage::picture(media.stored_bytes, media.frames);
    let mut tx = db.begin().await.unwrap();
    let settled = tx.settle(job, change, &Limits::builtin(), media.created_at).await;
    assert_eq!(settled.unwrap(), Settled::Now);
    tx.add_media(media, &[]).await.unwrap();
    let sha256 = media.sha256.as_deref().unwrap();
    tx.hold(sha256, holder, &media.id, media.created_at).await.unwrap();
    tx.commit().await.unwrap();
}

/// Whichever step of the hold the job's commit falls into, it is held.
async fn a_picture_that_becomes_one_meanwhile_is_held(world: World) {
    const STEPS: usize = 40;
    let tenant = world.tenant().await;
    let (db, clock) = (tenant.db().unwrap(), Clock::system());
    let holder = UserId::generate(&clock, &world.services.entropy);
    for step in 0..STEPS {
        let (job, mut media, _) = picture(tenant.id());
        (media.sha256, media.expires_at) = (Some(format!("{step:064}")), None);
        let sha256 = media.sha256.as_deref().unwrap();
        let mut making = pin!(make(&db, &job, &media, &holder));
        // So far the job comes before the hold begins.
        let mut left = step;
        let made = std::future::poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(false);
            }
            left -= 1;
            making.as_mut().poll(cx).map(|()| true)
        })
        .await;
        let holding = db.hold_making(sha256, &holder, (&media.id, &job), clock.now());
        let held = if made {
            holding.await
        } else {
            futures_util::future::join(holding, making).await.0
        };
        assert!(held.unwrap(), "begun at step {step}");
        assert_eq!(
            db.holders(&media.id).await.unwrap(),
            std::slice::from_ref(&holder),
            "step {step}"
        );
        let found = db.hold_existing(sha256, &holder, clock.now()).await.unwrap();
        assert_eq!(found.as_ref(), Some(&media.id), "step {step}");
    }
}

/// Whoever lets go and uploads the same again before the job is over holds it, whatever the job does.
async fn a_hold_that_came_since_is_not_let_go_again(world: World) {
    let tenant = world.tenant().await;
    let (db, clock, entropy) = (tenant.db().unwrap(), Clock::system(), &world.services.entropy);
    let (one, other) = (UserId::generate(&clock, entropy), UserId::generate(&clock, entropy));
    let (job, mut media, _) = picture(tenant.id());
    media.expires_at = None;
    let sha256 = media.sha256.as_deref().unwrap();
    make(&db, &job, &media, &one).await;
    let hold = async |holder: &UserId| db.hold_existing(sha256, holder, clock.now()).await.unwrap();
    let delete = async |job: &JobId, holder: &UserId| {
        let deleted = db.delete(&media.id, Some(holder), job, clock.now()).await;
        deleted.unwrap()
    };
    assert_eq!(hold(&other).await.as_ref(), Some(&media.id));
    let first = JobId::generate(&clock, entropy);
    assert_eq!(delete(&first, &one).await, Deleted::Kept);
    assert_eq!(hold(&one).await.as_ref(), Some(&media.id));
    assert_eq!(delete(&JobId::generate(&clock, entropy), &other).await, Deleted::Kept);
    // Again, as its job does.
    assert_eq!(delete(&first, &one).await, Deleted::Kept);
    assert_eq!(db.holders(&media.id).await.unwrap(), std::slice::from_ref(&one));
    let last = delete(&JobId::generate(&clock, entropy), &one).await;
    assert!(matches!(last, Deleted::Now(_)), "{last:?}");
    assert_eq!(delete(&first, &one).await, Deleted::Before);
}
