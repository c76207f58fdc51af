//! Variants that links ask for, when a copy of the original is not what was written.

use super::{Bucket, accept, add, files, placed_by, put, read, ready, work};
use mediamill_shared::{
    ids::MediaId,
    jobs::{JobState, MakeVariant},
    placement::{Places, Spot},
    tenancy::{
        OnDemand,
        store::media::{ORIGINAL, Variant},
    },
    testing::World,
    units::ByteCount,
};

mediamill_shared::on_both_sides!(
    a_variant_is_made_of_the_copy_that_is_whole,
    no_variant_is_made_of_copies_that_are_all_damaged,
);

/// A picture whose files have two copies each, its original, and that one's bytes.
async fn twice(world: &World, [a, b]: &[Bucket; 2]) -> (MediaId, Variant, Vec<u8>) {
    add(world, a.as_new("a")).await;
    add(world, b.as_new("b")).await;
    placed_by(world, r#"{"replicas": 2}"#).await;
    work(&world.services);
    let (media, files) = ready(world).await;
    let original = files.into_iter().find(|file| file.name == ORIGINAL).unwrap();
    let bytes = read(world, &original).await;
    (media, original, bytes)
}

fn asked(media: &MediaId, wanted: &str) -> MakeVariant {
    let wanted: OnDemand = wanted.parse().unwrap();
    MakeVariant {
        media: media.clone(),
        name: wanted.name().to_owned(),
        variant: wanted.preset().clone(),
        reserved: ByteCount::ZERO,
    }
}

/// The same size and beginning, another end.
fn rotten(bytes: &[u8]) -> Vec<u8> {
    let mut rotten = bytes.to_vec();
    let half = rotten.len() / 2;
    rotten[half..].fill(7);
    rotten
}

async fn a_variant_is_made_of_the_copy_that_is_whole(world: World) {
    let buckets = [Bucket::new().await, Bucket::new().await];
    let (media, original, bytes) = twice(&world, &buckets).await;
    // The copy that is read first.
    let first: Spot = original.places.held()[0].clone();
    let (other, shorter, longer) = (
        vec![7; bytes.len()],
        &bytes[..bytes.len() / 2],
        [&bytes[..], &[7]].concat(),
    );
    let damages: [(&str, &[u8]); 4] = [
        ("w40", &other),
        ("w41", &rotten(&bytes)),
        ("w42", shorter),
        ("w43", &longer),
    ];
    for (wanted, damaged) in damages {
        put(&world, &first, &original.object, damaged).await;
        let row = world.finished(&accept(&world, &asked(&media, wanted)).await).await;
        assert_eq!(
            (row.state, row.attempts),
            (JobState::Done, 1),
            "{wanted}: {:?}",
            row.cause
        );
    }
    let made = files(&world, &media).await;
    assert_eq!(made.iter().filter(|file| file.name.starts_with('_')).count(), 4);
    put(&world, &first, &original.object, &bytes).await;
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn no_variant_is_made_of_copies_that_are_all_damaged(world: World) {
    let buckets = [Bucket::new().await, Bucket::new().await];
    let (media, original, bytes) = twice(&world, &buckets).await;
    for place in original.places.held() {
        put(&world, place, &original.object, &rotten(&bytes)).await;
    }
    let row = world.finished(&accept(&world, &asked(&media, "w40")).await).await;
    assert_eq!(
        (row.state, row.cause_code.as_deref(), row.attempts),
        (JobState::Failed, Some("file-damaged"), 1)
    );
    for place in original.places.held() {
        put(&world, place, &original.object, &bytes).await;
    }
    let copy = Variant {
        places: Places::of([original.places.held()[0].clone()]),
        ..original
    };
    assert_eq!(read(&world, &copy).await, bytes);
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}
