//! Which storage takes a picture's files.

use super::{MOST_REPLICAS, PlacementError};
use crate::{
    ids::{MediaId, StorageId},
    units::ByteCount,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

crate::jobs::names!(
    /// How storages are chosen.
    Policy, "placement policy" {
        /// By weight: of two storages of weights 1 and 3 the second gets three pictures of four.
        Weighted = "weighted",
        /// The one with the most room; without a bound comes first.
        MostFree = "most-free",
        /// One after the other.
        RoundRobin = "round-robin",
        /// One, and no other, whatever becomes of it.
        Fixed = "fixed",
    }
);

/// How a site's files are placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilePlacement {
    /// How storages are chosen.
    #[serde(default = "FilePlacement::builtin_policy")]
    pub policy: Policy,
    /// Copies of each file, each in another storage, 1 to 5; as many as there are storages, where there are fewer.
    #[serde(default = "FilePlacement::builtin_replicas", skip_serializing_if = "is_one")]
    pub replicas: usize,
    /// The storage of [`Policy::Fixed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageId>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
const fn is_one(replicas: &usize) -> bool {
    *replicas == 1
}

impl FilePlacement {
    const fn builtin_policy() -> Policy {
        Policy::Weighted
    }

    const fn builtin_replicas() -> usize {
        1
    }

    /// Whether members fit each other.
    ///
    /// # Errors
    /// Which one does not.
    pub fn check(&self) -> Result<(), PlacementError> {
        if !(1..=MOST_REPLICAS).contains(&self.replicas) {
            return Err(PlacementError::Replicas { given: self.replicas });
        }
        match (self.policy, &self.storage) {
            (Policy::Fixed, None) => Err(PlacementError::FixedWhere),
            (Policy::Fixed, Some(_)) if self.replicas > 1 => Err(PlacementError::FixedTwice),
            (Policy::Fixed, Some(_)) | (_, None) => Ok(()),
            (policy, Some(_)) => Err(PlacementError::StorageWithout { policy }),
        }
    }
}

impl Default for FilePlacement {
    /// By weight, one copy.
    fn default() -> Self {
        Self {
            policy: Self::builtin_policy(),
            replicas: Self::builtin_replicas(),
            storage: None,
        }
    }
}

/// What is known of a storage that could take a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: StorageId,
    pub(super) weight: i64,
    /// `None`: no bound.
    pub(super) free: Option<ByteCount>,
}

/// Places of `candidates`, the one to be tried first at the beginning. For [`Policy::Weighted`] a picture's order never
/// changes while the storages stay, so another attempt at a job goes where the one before went.
pub(super) fn order(placement: &FilePlacement, candidates: &[Candidate], media: &MediaId, turn: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..candidates.len()).collect();
    let by_weight = |place: &usize| candidates.get(*place).map_or(0.0, |one| score(one, media));
    // Everywhere else it breaks ties.
    places.sort_by(|a, b| by_weight(b).total_cmp(&by_weight(a)));
    match placement.policy {
        Policy::Weighted => {}
        Policy::MostFree => places.sort_by_key(|place| {
            let free = candidates.get(*place).and_then(|one| one.free);
            std::cmp::Reverse(free.map_or(i64::MAX, ByteCount::get))
        }),
        Policy::RoundRobin => {
            places.sort_by(|a, b| {
                candidates
                    .get(*a)
                    .map(|one| &one.id)
                    .cmp(&candidates.get(*b).map(|one| &one.id))
            });
            let first = turn.checked_rem(places.len()).unwrap_or(0);
            places.rotate_left(first);
        }
        Policy::Fixed => places.retain(|place| {
            let id = candidates.get(*place).map(|one| &one.id);
            id.is_some() && id == placement.storage.as_ref()
        }),
    }
    places
}

/// Weighted rendezvous hashing: the share of pictures whose highest score is a storage's is its share of all weights, and a
/// storage that is added or goes moves no picture between the others.
#[expect(clippy::cast_precision_loss, reason = "a score, not a count")]
fn score(candidate: &Candidate, media: &MediaId) -> f64 {
    let hash = Sha256::new()
        .chain_update(media.as_str())
        .chain_update(candidate.id.as_str())
        .finalize();
    let bits = hash
        .iter()
        .take(8)
        .fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
    // Between 0 and 1, neither of them.
    let chance = ((bits >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    -(candidate.weight.max(1) as f64) / chance.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Entropy};

    fn candidates(weights: &[i64]) -> Vec<Candidate> {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let one = |weight: &i64| Candidate {
            id: StorageId::generate(&clock, &entropy),
            weight: *weight,
            free: None,
        };
        let mut candidates: Vec<Candidate> = weights.iter().map(one).collect();
        candidates.sort_by(|a, b| a.id.cmp(&b.id));
        candidates
    }

    fn media() -> MediaId {
        MediaId::generate(&Clock::system(), &Entropy::system())
    }

    fn placed(policy: Policy) -> FilePlacement {
        FilePlacement {
            policy,
            ..FilePlacement::default()
        }
    }

    #[test]
    fn pictures_go_where_weights_say_and_stay_when_one_storage_goes() {
        let mut all = candidates(&[1, 1, 1]);
        all[2].weight = 3;
        let pictures: Vec<MediaId> = (0..5_000).map(|_| media()).collect();
        let first = |candidates: &[Candidate], media| order(&FilePlacement::default(), candidates, media, 0)[0];
        let mut counts = [0_u32; 3];
        for picture in &pictures {
            counts[first(&all, picture)] += 1;
        }
        // Of 5,000 one deviation is 31 for a fifth, 35 for three fifths: this is six of them.
        assert!(
            counts[0].abs_diff(1_000) < 190 && counts[1].abs_diff(1_000) < 190,
            "{counts:?}"
        );
        for picture in &pictures {
            let (before, after) = (first(&all, picture), first(&all[..2], picture));
            assert!(before == 2 || before == after);
        }
    }

    #[test]
    fn most_free_is_the_one_with_room() {
        let mut all = candidates(&[1, 1, 1]);
        all[0].free = Some(ByteCount::new(10));
        all[1].free = Some(ByteCount::new(30));
        assert_eq!(order(&placed(Policy::MostFree), &all, &media(), 0), [2, 1, 0]);
    }

    #[test]
    fn round_robin_takes_turns() {
        let all = candidates(&[1, 1, 1]);
        let turns: Vec<usize> = (0..4)
            .map(|turn| order(&placed(Policy::RoundRobin), &all, &media(), turn)[0])
            .collect();
        assert_eq!(turns, [0, 1, 2, 0]);
        assert!(order(&placed(Policy::RoundRobin), &[], &media(), 7).is_empty());
    }

    #[test]
    fn fixed_knows_one() {
        let all = candidates(&[1, 1]);
        let mut fixed = placed(Policy::Fixed);
        fixed.storage = Some(all[1].id.clone());
        assert_eq!(order(&fixed, &all, &media(), 0), [1]);
        assert!(order(&fixed, &all[..1], &media(), 0).is_empty());
    }

    #[test]
    fn members_must_fit_each_other() {
        let check = |text: &str| serde_json::from_str::<FilePlacement>(text).unwrap().check();
        let id = candidates(&[1])[0].id.to_string();
        assert_eq!(check("{}"), Ok(()));
        assert_eq!(check(&format!(r#"{{"policy":"fixed","storage":"{id}"}}"#)), Ok(()));
        assert_eq!(check(r#"{"policy":"fixed"}"#), Err(PlacementError::FixedWhere));
        assert_eq!(
            check(&format!(r#"{{"policy":"fixed","storage":"{id}","replicas":2}}"#)),
            Err(PlacementError::FixedTwice)
        );
        assert_eq!(check(r#"{"replicas":6}"#), Err(PlacementError::Replicas { given: 6 }));
        assert!(check(&format!(r#"{{"storage":"{id}"}}"#)).is_err());
    }
}
