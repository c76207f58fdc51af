//! Deleting the oldest pictures of a tenant whose plan has it so, until what it stores fits.
//!
//! They expire like pictures whose uploader gave them a time: out of sight at once, deleted by a job. What expires already, and is
//! still counted, is not made up for twice, also where pictures are deleted, or others look at the tenant, in this moment. Where no
//! picture helps, uploads are refused instead.

use super::Lifecycle;
use crate::{
    control::{
        audit::Actor,
        findings::{self, Figures},
    },
    db::DbError,
    ids::MediaId,
    telemetry::names,
    tenancy::{
        Finding, FindingState, Limit, Reason, TenantDb, Used,
        store::{oldest::Wanted, usage::Usage},
    },
    units::Millis,
};

/// Looks at a tenant whose excess changes with each: the next run goes on.
const LOOKS: u32 = 3;

/// Pictures of a tenant that expire by one look at it.
const MOST: i64 = 200;

/// The limits on what is stored.
const STORED: [Limit; 4] = [
    Limit::Media,
    Limit::StoredBytes,
    Limit::ImageBytes,
    Limit::AnimationBytes,
];

/// By how much each of [`STORED`] is passed; 0 where it is not.
pub(super) type Excess = [i64; 4];

fn counted(usage: Usage) -> Excess {
    let stills = usage.bytes.minus(usage.animation_bytes);
    [
        usage.media,
        usage.bytes.get(),
        stills.get(),
        usage.animation_bytes.get(),
    ]
}

fn less(excess: Excess, usage: Usage) -> Excess {
    let counted = counted(usage);
    std::array::from_fn(|place| {
        let (excess, counted) = (excess.get(place).copied(), counted.get(place).copied());
        excess.unwrap_or(0).saturating_sub(counted.unwrap_or(0)).max(0)
    })
}

/// The first of `oldest` that together leave nothing of `excess`; those that help with nothing of it are passed over.
fn chosen(mut excess: Excess, oldest: Vec<(MediaId, Usage)>) -> Vec<(MediaId, Usage)> {
    let mut chosen = Vec::new();
    for (media, usage) in oldest {
        if excess == [0; 4] {
            break;
        }
        let left = less(excess, usage);
        if left != excess {
            excess = left;
            chosen.push((media, usage));
        }
    }
    chosen
}

/// What deleting the oldest pictures can do about what does not fit.
pub(super) enum Remedy {
    /// Nothing expires for it, or what does so already is enough.
    Unneeded,
    /// These make it less.
    Oldest(Vec<(MediaId, Usage)>),
    /// There is none that would, and so much is left.
    Nothing(Excess),
}

/// What there is to do about those of `found` that pictures expire for.
pub(super) async fn remedy(db: &TenantDb, found: &[Finding], now: Millis) -> Result<Remedy, DbError> {
    let by = |used: Excess| {
        let mut used = used.into_iter();
        STORED.map(|limit| {
            let used = used.next().unwrap_or(0);
            expiring(found, limit).map_or(0, |one| used.saturating_sub(one.allowed).max(0))
        })
    };
    let mut looked_for =
        wanted(STORED.map(|limit| expiring(found, limit).map_or(0, |one| one.used.saturating_sub(one.allowed))));
    for _ in 0..LOOKS {
        if !looked_for.is_any() {
            return Ok(Remedy::Unneeded);
        }
        // First these: what another look lets expire in between is among them, and not made up for by those behind.
        let oldest = db.oldest(now, looked_for, MOST).await?;
        let (usage, over) = db.usage_and_over(now).await?;
        let excess = less(by(counted(usage)), over);
        let needed = wanted(excess);
        if needed != looked_for {
            looked_for = needed;
            continue;
        }
        let chosen = chosen(excess, oldest);
        return Ok(if chosen.is_empty() {
            Remedy::Nothing(excess)
        } else {
            Remedy::Oldest(chosen)
        });
    }
    Ok(Remedy::Unneeded)
}

/// Those that make `excess` less: the oldest of all may be more than are read, and help with nothing of it.
const fn wanted([media, bytes, stills, moving]: Excess) -> Wanted {
    let either = media > 0 || bytes > 0;
    Wanted {
        stills: either || stills > 0,
        moving: either || moving > 0,
        empty: media > 0,
    }
}

fn expiring(found: &[Finding], limit: Limit) -> Option<&Finding> {
    let of = found.iter().find(|one| one.reason == Reason::Limit(limit));
    of.filter(|one| one.state == FindingState::Expiring)
}

/// Has what no picture helps with freeze instead.
pub(super) fn freeze(found: &mut [Finding], left: Excess) {
    let stuck = STORED.into_iter().zip(left).filter(|(_, left)| *left > 0);
    let stuck: Vec<Reason> = stuck.map(|(limit, _)| Reason::Limit(limit)).collect();
    for one in found.iter_mut().filter(|one| stuck.contains(&one.reason)) {
        one.state = FindingState::Frozen;
    }
}

impl Lifecycle {
    /// Lets pictures expire for `found`, unless the tenant or its plan has changed since it was judged: a larger limit takes nothing
    /// back. Returns how many.
    pub(super) async fn expire(
        &self,
        figures: &Figures,
        db: &TenantDb,
        used: &Used,
        found: &[Finding],
        chosen: &[(MediaId, Usage)],
        now: Millis,
    ) -> Result<i64, DbError> {
        let tenant = &figures.id;
        let media: Vec<MediaId> = chosen.iter().map(|(media, _)| media.clone()).collect();
        let bytes = chosen
            .iter()
            .map(|(_, usage)| usage.bytes.get())
            .fold(0, i64::saturating_add);
        let over: Vec<_> = STORED
            .into_iter()
            .filter_map(|limit| {
                let one = expiring(found, limit)?;
                Some(serde_json::json!({ "limit_name": limit.as_str(), "limit": one.allowed, "used": used.of(limit) }))
            })
            .collect();
        let entry = self.entry(&Actor::scheduler(), "media.expire", Some(tenant));
        let entry =
            entry.with(serde_json::json!({ "over": over, "media": media, "count": media.len(), "bytes": bytes }));
        // Before the rows: what expires is found, whatever becomes of this process; a row that says otherwise has the say.
        if !findings::expire(&self.control, (tenant, figures.judged_by), &media, now, &entry).await? {
            tracing::info!(tenant.id = %tenant, "a tenant or its plan changed while it was judged: no picture expires");
            return Ok(0);
        }
        let mut tx = db.begin().await?;
        for media in &media {
            tx.set_expiry(media, Some(now)).await?;
        }
        tx.commit().await?;
        let expired = i64::try_from(media.len()).unwrap_or(i64::MAX);
        metrics::counter!(names::ENFORCEMENTS, "decision" => "expire").increment(expired.unsigned_abs());
        tracing::info!(tenant.id = %tenant, pictures = expired, size_bytes = bytes, "the oldest pictures expire");
        Ok(expired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Clock, Entropy},
        units::ByteCount,
    };

    #[test]
    fn the_oldest_that_help_are_chosen_and_no_more() {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let still = |bytes| {
            (
                MediaId::generate(&clock, &entropy),
                Usage::picture(ByteCount::new(bytes), 1),
            )
        };
        let moving = |bytes| {
            (
                MediaId::generate(&clock, &entropy),
                Usage::picture(ByteCount::new(bytes), 2),
            )
        };
        let oldest = vec![still(10), moving(20), still(30), moving(40)];
        let picked = |excess: Excess| {
            let picked = chosen(excess, oldest.clone());
            picked.iter().map(|(_, usage)| usage.bytes.get()).collect::<Vec<_>>()
        };
        assert_eq!(picked([0; 4]), Vec::<i64>::new());
        assert_eq!(picked([2, 0, 0, 0]), [10, 20]);
        assert_eq!(picked([0, 11, 0, 0]), [10, 20]);
        assert_eq!(picked([0, 10, 0, 0]), [10]);
        assert_eq!(picked([0, 0, 0, 21]), [20, 40]);
        assert_eq!(picked([0, 0, 11, 0]), [10, 30]);
        assert_eq!(picked([9, 0, 0, 0]), [10, 20, 30, 40]);
        // What is on its way already counts.
        assert_eq!(less([2, 25, 0, 0], still(10).1), [1, 15, 0, 0]);
    }
}
