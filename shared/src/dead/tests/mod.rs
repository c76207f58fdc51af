//! What is promised of dead jobs, with the queue, the database and the stores of both sides.

mod found;
mod purged;
mod retried;

use super::*;
use crate::{
    control::jobs::{Claim, Outcome, Settlement},
    ids::MediaId,
    jobs::{MoveMedia, Pool, Reason},
    testing::World,
};

const MEDIA: Pool = Pool::Media;

fn all() -> DeadFilter {
    DeadFilter::default()
}

fn at_once(world: &World) -> Pace {
    Pace::new(None, world.services.clock.now())
}

async fn retry(world: &World, id: &JobId) -> bool {
    let (actor, mut pace) = (Actor::cli(), at_once(world));
    world.services.dead.retry(id, &mut pace, &actor).await.unwrap()
}

fn look(media: &MediaId) -> MoveMedia {
    MoveMedia {
        media: media.clone(),
        from: "-".into(),
        to: None,
        task: None,
    }
}

fn media_id(world: &World) -> MediaId {
    MediaId::generate(&world.services.clock, &world.services.entropy)
}

/// What a worker makes of a message: its claim.
async fn claimed(world: &World, id: &JobId) -> Claim {
    let (control, now) = (&world.services.control, world.services.clock.now());
    let claims = jobs::claim(control, "worker", std::slice::from_ref(id), now).await;
    claims.unwrap().swap_remove(0)
}

/// Ends the attempt of a claimed job.
async fn settled(world: &World, claim: Claim, outcome: Outcome) {
    let Claim::Yours(claimed) = claim else {
        panic!("{claim:?}")
    };
    let settlement = Settlement {
        id: claimed.id,
        attempt: claimed.attempt,
        outcome,
        has_message: true,
    };
    let (control, now) = (&world.services.control, world.services.clock.now());
    assert_eq!(jobs::settle(control, &[settlement], now).await.unwrap(), [true]);
}

fn dead() -> Outcome {
    let reason = Reason::new("attempts-used-up", "a server is away");
    Outcome::Dead { reason }
}
