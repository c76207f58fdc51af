//! What a tenant has too much of, or too little, and what becomes of that. Pure: figures and limits in, findings out.
//!
//! A finding is in its grace first, which is told; then its pictures expire or its uploads are frozen. It ends when the tenant
//! fits again. Its state follows from when it began, the limits in force and the time alone: a longer grace thaws, and a pass that
//! is run twice finds the same.

use super::{Limit, Limits};
use crate::units::Millis;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Why a tenant does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It uses more than the limit; of [`Limit::MinActiveStorages`], less.
    Limit(Limit),
    /// Its trial is over, and nobody has ended or prolonged it.
    Trial,
}

/// What is compared with what the tenant uses. What has a period is judged when it is used, and begins anew by itself.
const MOST: [Limit; 9] = [
    Limit::Media,
    Limit::StoredBytes,
    Limit::ImageBytes,
    Limit::AnimationBytes,
    Limit::Users,
    Limit::Admins,
    Limit::Managers,
    Limit::Storages,
    Limit::Hosts,
];

impl Reason {
    /// Every one.
    pub const ALL: [Self; 11] = {
        let mut all = [Self::Trial; 11];
        let mut place = 0;
        while place < MOST.len() {
            all[place] = Self::Limit(MOST[place]);
            place += 1;
        }
        all[place] = Self::Limit(Limit::MinActiveStorages);
        all
    };

    /// Its name in rows, answers and metrics: the limit's, or `trial`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit(limit) => limit.as_str(),
            Self::Trial => "trial",
        }
    }

    /// By its name. `None`: a newer release's.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// Whether deleting pictures helps.
    #[must_use]
    pub const fn is_stored(self) -> bool {
        matches!(
            self,
            Self::Limit(Limit::Media | Limit::StoredBytes | Limit::ImageBytes | Limit::AnimationBytes)
        )
    }
}

crate::jobs::names!(
    /// What becomes of a finding.
    FindingState, "state of a finding" {
        /// It was told, and nothing else happens until its grace is over.
        Grace = "grace",
        /// The tenant's oldest pictures are being deleted until it fits.
        Expiring = "expiring",
        /// Uploads are refused.
        Frozen = "frozen",
    }
);

/// Something of a tenant that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub reason: Reason,
    /// What becomes of it.
    pub state: FindingState,
    /// How much is used, in the limit's unit; 0 of a trial.
    pub used: i64,
    /// How much may be; 0 of a trial.
    pub allowed: i64,
    /// Since when; of a trial its end.
    pub since: Millis,
    /// When its grace is over, or was.
    pub freeze_at: Millis,
}

/// Why a tenant's uploads are refused, as its context has it. A reason of a newer release is told like any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// The limit's name, or `trial`.
    pub reason: String,
    /// How much was used when that was looked at last.
    pub used: i64,
    /// How much may be.
    pub allowed: i64,
    /// Since when it does not fit.
    pub since: Millis,
    /// When its grace was over.
    pub freeze_at: Millis,
}

impl Frozen {
    /// Those of `findings` that freeze.
    #[must_use]
    pub fn of(findings: &[Finding]) -> Vec<Self> {
        let frozen = findings.iter().filter(|one| one.state == FindingState::Frozen);
        frozen
            .map(|one| Self {
                reason: one.reason.as_str().to_owned(),
                used: one.used,
                allowed: one.allowed,
                since: one.since,
                freeze_at: one.freeze_at,
            })
            .collect()
    }
}

/// What a tenant uses of what is compared with its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Pictures.
    pub media: i64,
    /// Bytes, originals and variants.
    pub bytes: i64,
    /// Those of pictures that do not move.
    pub image_bytes: i64,
    /// Those of pictures that move.
    pub animation_bytes: i64,
    /// Users.
    pub users: i64,
    /// Those of them that administer.
    pub admins: i64,
    /// Those of them that manage.
    pub managers: i64,
    /// Storages of its own.
    pub storages: i64,
    /// Those of them that are active.
    pub active_storages: i64,
    /// Host names.
    pub hosts: i64,
}

impl Used {
    /// Of what `limit` bounds; 0 of what is not compared.
    #[must_use]
    pub const fn of(&self, limit: Limit) -> i64 {
        match limit {
            Limit::Media => self.media,
            Limit::StoredBytes => self.bytes,
            Limit::ImageBytes => self.image_bytes,
            Limit::AnimationBytes => self.animation_bytes,
            Limit::Users => self.users,
            Limit::Admins => self.admins,
            Limit::Managers => self.managers,
            Limit::Storages => self.storages,
            Limit::MinActiveStorages => self.active_storages,
            Limit::Hosts => self.hosts,
            _ => 0,
        }
    }
}

/// What of a tenant does not fit now, given what did not before, in the order of reasons.
#[must_use]
pub fn judge(
    used: &Used,
    limits: &Limits,
    trial_until: Option<Millis>,
    before: &BTreeMap<Reason, Finding>,
    now: Millis,
) -> Vec<Finding> {
    let over = |limit: Limit| {
        let (used, allowed) = (used.of(limit), limits.get(limit));
        let fits = match limit {
            Limit::MinActiveStorages => used >= allowed,
            _ => allowed == 0 || used <= allowed,
        };
        (!fits).then_some((Reason::Limit(limit), used, allowed, now))
    };
    let limits_over = MOST.into_iter().chain([Limit::MinActiveStorages]).filter_map(over);
    let trial = trial_until
        .filter(|end| *end <= now)
        .map(|end| (Reason::Trial, 0, 0, end));
    let grace = Duration::from_secs(limits.grace_seconds.unsigned_abs());
    let found = limits_over.chain(trial).map(|(reason, used, allowed, began)| {
        // A trial's end is known, and may have been moved; of what else there is, only since when it was seen.
        let since = match (reason, before.get(&reason)) {
            (Reason::Limit(_), Some(before)) => before.since,
            (Reason::Limit(_), None) | (Reason::Trial, _) => began,
        };
        let freeze_at = since.after(grace);
        let state = if now < freeze_at {
            FindingState::Grace
        } else if reason.is_stored() && limits.allows(Limit::ExpireOldest) {
            FindingState::Expiring
        } else {
            FindingState::Frozen
        };
        Finding {
            reason,
            state,
            used,
            allowed,
            since,
            freeze_at,
        }
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis::new(1_000_000_000_000);

    fn limits(set: &[(Limit, i64)]) -> Limits {
        let mut limits = Limits::builtin();
        for (limit, value) in set {
            limits.set(*limit, *value);
        }
        limits
    }

    fn found(used: &Used, limits: &Limits, before: &[Finding], now: Millis) -> Vec<Finding> {
        let before = before.iter().map(|one| (one.reason, *one)).collect();
        judge(used, limits, None, &before, now)
    }

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        for reason in Reason::ALL {
            assert_eq!(Reason::named(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::named("uploads_hour"), None);
    }

    #[test]
    fn what_is_reached_fits_and_one_more_does_not() {
        let most = limits(&[(Limit::Media, 10), (Limit::MinActiveStorages, 2)]);
        let used = Used {
            media: 10,
            active_storages: 2,
            ..Used::default()
        };
        assert_eq!(found(&used, &most, &[], NOW), []);
        let used = Used {
            media: 11,
            active_storages: 1,
            ..Used::default()
        };
        let both = found(&used, &most, &[], NOW);
        let told: Vec<_> = both
            .iter()
            .map(|one| (one.reason.as_str(), one.used, one.allowed))
            .collect();
        assert_eq!(told, [("media", 11, 10), ("min_active_storages", 1, 2)]);
        // Unlimited.
        assert_eq!(found(&used, &limits(&[]), &[], NOW), []);
    }

    #[test]
    fn grace_runs_from_when_it_was_seen_first_whatever_changes_meanwhile() {
        let used = Used {
            media: 11,
            ..Used::default()
        };
        let tight = limits(&[(Limit::Media, 10), (Limit::GraceSeconds, 60)]);
        let first = found(&used, &tight, &[], NOW);
        assert_eq!((first[0].state, first[0].since), (FindingState::Grace, NOW));
        let tighter = limits(&[(Limit::Media, 5), (Limit::GraceSeconds, 60)]);
        let just_before = NOW.after(Duration::from_millis(59_999));
        let still = found(&used, &tighter, &first, just_before);
        assert_eq!((still[0].state, still[0].allowed), (FindingState::Grace, 5));
        let over = NOW.after(Duration::from_secs(60));
        assert_eq!(found(&used, &tighter, &still, over)[0].state, FindingState::Frozen);
        // The same again; a longer grace thaws; pictures expire where that is wanted.
        let frozen = found(&used, &tighter, &still, over);
        assert_eq!(found(&used, &tighter, &frozen, over), frozen);
        let longer = limits(&[(Limit::Media, 5), (Limit::GraceSeconds, 61)]);
        assert_eq!(found(&used, &longer, &frozen, over)[0].state, FindingState::Grace);
        let expiring = limits(&[(Limit::Media, 5), (Limit::GraceSeconds, 60), (Limit::ExpireOldest, 1)]);
        assert_eq!(found(&used, &expiring, &frozen, over)[0].state, FindingState::Expiring);
        let none = limits(&[(Limit::Media, 10), (Limit::GraceSeconds, 0)]);
        assert_eq!(found(&used, &none, &[], NOW)[0].state, FindingState::Frozen);
    }

    #[test]
    fn a_trial_counts_from_its_end_and_no_picture_is_deleted_for_it() {
        let limits = limits(&[(Limit::GraceSeconds, 60), (Limit::ExpireOldest, 1)]);
        let judged = |end: Option<Millis>| judge(&Used::default(), &limits, end, &BTreeMap::new(), NOW);
        assert_eq!(judged(None), []);
        assert_eq!(judged(Some(NOW.after(Duration::from_millis(1)))), []);
        let state = |end| judged(Some(end)).first().map(|one| (one.reason, one.state));
        assert_eq!(state(NOW), Some((Reason::Trial, FindingState::Grace)));
        let long_ago = NOW.before(Duration::from_secs(60));
        assert_eq!(state(long_ago), Some((Reason::Trial, FindingState::Frozen)));
    }
}
