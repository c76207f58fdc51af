//! Re-enforcement: tenants are compared with the limits that are in force for them, many at a time, and what does not fit is
//! told, and in the end frozen, until it fits.
//!
//! Figures of a page come by one statement; only of whom they say that something changes, the tenant's own row is read, and that
//! alone decides. A decision is written unless the tenant has changed meanwhile, with its numbers in the audit log; its context
//! has a new version then, so that an upload that was judged before is judged again.

mod expire;
#[cfg(test)]
mod tests;

use super::{Lifecycle, LifecycleError};
use crate::{
    control::{
        activity::{self, Watcher},
        audit::{Actor, Entry},
        findings::{
            self, Decision, Figures,
            figures::{self, Page},
        },
        limit_marks,
    },
    db::DbError,
    ids::TenantId,
    quota::watch::level,
    telemetry::names,
    tenancy::{
        Finding, FindingState, Frozen, Layers, Limit, Limits, Reason, TENANT_SCHEMA_VERSION, TenantDb, Used, judge,
        on_trial,
    },
    units::Millis,
};
use expire::Remedy;
use futures_util::{StreamExt, stream};
use std::collections::BTreeMap;

/// Tenants whose own rows are read at a time.
const AT_A_TIME: usize = 8;
/// Decisions of one transaction.
const TOGETHER: usize = 100;

/// What is told in the audit log, and counted.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// Something does not fit any more: its grace begins.
    Over,
    /// It fits again.
    Fits,
    /// Its uploads are refused for it from now on.
    Freeze,
    /// And are not any more.
    Thaw,
}

impl Told {
    const fn action(self) -> &'static str {
        match self {
            Self::Over => "limit.over",
            Self::Fits => "limit.fits",
            Self::Freeze => "tenant.freeze",
            Self::Thaw => "tenant.thaw",
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Over => "over",
            Self::Fits => "fits",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
        }
    }
}

/// What a look at tenants did.
#[derive(Debug, Clone, Default)]
pub struct Enforced {
    /// Decisions that were written, and pictures that expire by them.
    pub changed: i64,
    /// Lines of the audit log that were written, or would be.
    pub decided: Vec<Entry>,
    /// Tenants whose own rows could not be read: nothing is decided about them.
    pub failed: Vec<TenantId>,
    /// The last one that was looked at.
    pub last: Option<TenantId>,
    /// How many were.
    pub looked_at: usize,
}

/// A tenant with what was found of it before.
struct Subject {
    figures: Figures,
    limits: Limits,
    before: BTreeMap<Reason, Finding>,
}

impl Lifecycle {
    /// Compares `tenants` with their limits, those that do not fit by their own rows, whatever figures say.
    ///
    /// # Errors
    /// When the control database is away.
    pub async fn enforce(&self, tenants: &[TenantId]) -> Result<Enforced, LifecycleError> {
        let page = figures::many(&self.control, tenants).await?;
        self.enforce_all(page, true, false).await
    }

    /// What [`Lifecycle::enforce`] would decide; oldest pictures that would expire are not among it. Nothing is changed.
    ///
    /// # Errors
    /// When the control database is away.
    pub async fn would_enforce(&self, tenants: &[TenantId]) -> Result<Enforced, LifecycleError> {
        let page = figures::many(&self.control, tenants).await?;
        self.enforce_all(page, true, true).await
    }

    /// What [`Lifecycle::enforce_page`] would decide, likewise.
    ///
    /// # Errors
    /// When the control database is away.
    pub async fn would_enforce_page(&self, after: Option<&TenantId>, limit: i64) -> Result<Enforced, LifecycleError> {
        let page = figures::page(&self.control, after, limit).await?;
        self.enforce_all(page, false, true).await
    }

    /// Compares the active tenants after `after` with their limits, at most `limit` of them.
    ///
    /// # Errors
    /// When the control database is away.
    pub async fn enforce_page(&self, after: Option<&TenantId>, limit: i64) -> Result<Enforced, LifecycleError> {
        let page = figures::page(&self.control, after, limit).await?;
        self.enforce_all(page, false, false).await
    }

    async fn enforce_all(&self, page: Page, closely: bool, dry: bool) -> Result<Enforced, LifecycleError> {
        let now = self.clock.now();
        let mut done = Enforced {
            last: page.last,
            looked_at: page.rows,
            ..Enforced::default()
        };
        let ids: Vec<TenantId> = page.figures.iter().map(|figures| figures.id.clone()).collect();
        let mut found = findings::of(&self.control, &ids).await?;
        let mut suspects = Vec::new();
        let mut near = Vec::new();
        for figures in page.figures {
            let limits = self.limits_of(&figures, now);
            near.extend(nearest(&figures.used, &limits).map(|(limit, level)| (figures.id.clone(), limit, level)));
            let before = found.remove(&figures.id).unwrap_or_default();
            let before = before.into_iter().map(|one| (one.reason, one)).collect();
            let subject = Subject {
                figures,
                limits,
                before,
            };
            if subject.is_suspect(closely, now) {
                suspects.push(subject);
            }
        }
        if !dry {
            self.have_watched(near, now).await?;
        }
        let judged = stream::iter(suspects).map(|subject| async move {
            let judged = self.judged(&subject, dry, now).await;
            (subject, judged)
        });
        let mut judged = std::pin::pin!(judged.buffered(AT_A_TIME));
        let mut decisions = Vec::new();
        while let Some((subject, judged)) = judged.next().await {
            match judged {
                Ok((decision, expired)) => {
                    done.changed = done.changed.saturating_add(expired);
                    decisions.extend(decision);
                }
                // One tenant's database that is away keeps nobody else's limits from being held.
                Err(error) => {
                    tracing::warn!(
                        tenant.id = %subject.figures.id, error = &error as &dyn std::error::Error,
                        "a tenant was not compared with its limits"
                    );
                    done.failed.push(subject.figures.id);
                }
            }
            if decisions.len() >= TOGETHER {
                self.conclude(&mut decisions, &mut done, dry, now).await?;
            }
        }
        self.conclude(&mut decisions, &mut done, dry, now).await?;
        Ok(done)
    }

    /// Writes decisions, unless they are none but in name.
    async fn conclude(
        &self,
        decisions: &mut Vec<Decision>,
        done: &mut Enforced,
        dry: bool,
        now: Millis,
    ) -> Result<(), LifecycleError> {
        if !dry {
            done.changed = done.changed.saturating_add(self.write(decisions, now).await?);
        }
        done.decided
            .extend(decisions.drain(..).flat_map(|decision| decision.entries));
        Ok(())
    }

    fn limits_of(&self, figures: &Figures, now: Millis) -> Limits {
        let (defaults, enforced) = self.resolver.installation();
        let layers = Layers {
            enforced,
            tenant: &figures.limits,
            plan: figures.plan.as_deref(),
            on_trial: on_trial(figures.trial_until, &figures.limits, now),
            defaults,
        };
        layers.resolve()
    }

    /// Tenants that crossed a line unseen, since nothing but their limit changed, are left to the watch on limits.
    async fn have_watched(&self, near: Vec<(TenantId, Limit, i64)>, now: Millis) -> Result<(), DbError> {
        let mut ids: Vec<TenantId> = near.iter().map(|(id, ..)| id.clone()).collect();
        ids.dedup();
        let told = limit_marks::levels(&self.control, &ids).await?;
        let untold = near.into_iter().filter(|(id, limit, level)| {
            let before = told.get(&(id.clone(), *limit));
            before.is_none_or(|before| before < level)
        });
        let mut ids: Vec<TenantId> = untold.map(|(id, ..)| id).collect();
        ids.dedup();
        // The watch goes by contexts, which follow a plan's change within a bound.
        let then = now.after(self.resolver.bound());
        activity::put_off(&self.control, Watcher::Limits, &ids, then).await
    }

    /// Judges a tenant by its own rows. Returns what is to be written, if something is, and how many pictures expire by this.
    async fn judged(&self, subject: &Subject, dry: bool, now: Millis) -> Result<(Option<Decision>, i64), DbError> {
        let figures = &subject.figures;
        if figures.schema_version != TENANT_SCHEMA_VERSION {
            tracing::info!(tenant.id = %figures.id, "a tenant with tables of another release is compared with its limits when they are migrated");
            return Ok((None, 0));
        }
        let db = TenantDb::new(self.databases.clone(), figures.place.clone(), figures.moving);
        let used = present(&db, figures.used, &subject.limits).await?;
        let mut found = judge(&used, &subject.limits, figures.trial_until, &subject.before, now);
        let expired = match expire::remedy(&db, &found, now).await? {
            Remedy::Unneeded => 0,
            Remedy::Nothing(left) => {
                expire::freeze(&mut found, left);
                0
            }
            Remedy::Oldest(_) if dry => 0,
            Remedy::Oldest(chosen) => self.expire(figures, &db, &used, &found, &chosen, now).await?,
        };
        Ok((self.decision(subject, &used, &found), expired))
    }

    fn decision(&self, subject: &Subject, used: &Used, found: &[Finding]) -> Option<Decision> {
        let (figures, before) = (&subject.figures, &subject.before);
        let (mut put, mut end, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        let mut tell =
            |told: Told, finding: &Finding| entries.push(self.told(&figures.id, told, finding, &subject.limits));
        for finding in found {
            let earlier = before.get(&finding.reason);
            if earlier == Some(finding) {
                continue;
            }
            put.push(*finding);
            if earlier.is_none() {
                tell(Told::Over, finding);
            }
            let was_frozen = earlier.is_some_and(|earlier| earlier.state == FindingState::Frozen);
            match finding.state {
                FindingState::Frozen if !was_frozen => tell(Told::Freeze, finding),
                FindingState::Grace | FindingState::Expiring if was_frozen => tell(Told::Thaw, finding),
                FindingState::Frozen | FindingState::Grace | FindingState::Expiring => {}
            }
        }
        for (reason, earlier) in before {
            if found.iter().any(|finding| finding.reason == *reason) {
                continue;
            }
            end.push(*reason);
            let (used, allowed) = match reason {
                Reason::Limit(limit) => (used.of(*limit), subject.limits.get(*limit)),
                Reason::Trial => (0, 0),
            };
            let present = Finding {
                used,
                allowed,
                ..*earlier
            };
            match earlier.state {
                FindingState::Frozen => tell(Told::Thaw, &present),
                FindingState::Grace | FindingState::Expiring => tell(Told::Fits, &present),
            }
        }
        let frozen = Frozen::of(found);
        let frozen = (frozen != figures.frozen).then_some(frozen);
        let changes = !(put.is_empty() && end.is_empty() && frozen.is_none());
        changes.then(|| Decision {
            tenant: figures.id.clone(),
            judged_by: figures.judged_by,
            put,
            end,
            frozen,
            entries,
        })
    }

    fn told(&self, tenant: &TenantId, told: Told, finding: &Finding, limits: &Limits) -> Entry {
        self.entry(&Actor::scheduler(), told.action(), Some(tenant))
            .with(serde_json::json!({
                "limit_name": finding.reason.as_str(), "limit": finding.allowed, "used": finding.used,
                "since": finding.since, "freeze_at": finding.freeze_at, "grace_seconds": limits.grace_seconds,
            }))
    }

    /// Writes decisions and tells every process of those that freeze or thaw. Returns how many lines of the audit log that made.
    async fn write(&self, decisions: &[Decision], now: Millis) -> Result<i64, LifecycleError> {
        if decisions.is_empty() {
            return Ok(0);
        }
        let written = findings::decide(&self.control, decisions, now).await?;
        let (mut changed, mut told) = (0_i64, Vec::new());
        for (decision, _) in decisions.iter().zip(written).filter(|(_, written)| *written) {
            if decision.frozen.is_some() {
                told.push(decision.tenant.clone());
            }
            for entry in &decision.entries {
                count(&entry.action);
                tracing::info!(tenant.id = %decision.tenant, detail = %entry.detail, "{}", entry.action);
                changed = changed.saturating_add(1);
            }
        }
        if !told.is_empty() {
            self.resolver.refresh_all(&told).await?;
        }
        Ok(changed)
    }
}

fn count(action: &str) {
    let all = [Told::Over, Told::Fits, Told::Freeze, Told::Thaw];
    for told in all.into_iter().filter(|told| told.action() == action) {
        metrics::counter!(names::ENFORCEMENTS, "decision" => told.label()).increment(1);
    }
}

/// The lines that a tenant's figures say it has reached, of what is stored.
fn nearest(used: &Used, limits: &Limits) -> impl Iterator<Item = (Limit, i64)> {
    let watched = [
        Limit::Media,
        Limit::StoredBytes,
        Limit::ImageBytes,
        Limit::AnimationBytes,
        Limit::Users,
    ];
    watched
        .map(|limit| (limit, level(used.of(limit), limits.get(limit))))
        .into_iter()
        .filter(|(_, level)| *level > 0)
}

/// What the tenant's own rows say, in the place of the figures.
async fn present(db: &TenantDb, figures: Used, limits: &Limits) -> Result<Used, DbError> {
    let usage = db.usage().await?;
    let mut used = Used {
        media: usage.media,
        bytes: usage.bytes.get(),
        image_bytes: usage.bytes.minus(usage.animation_bytes).get(),
        animation_bytes: usage.animation_bytes.get(),
        ..figures
    };
    if limits.users > 0 || limits.admins > 0 || limits.managers > 0 {
        let people = db.user_counts().await?;
        (used.users, used.admins, used.managers) = (people.users, people.admins, people.managers);
    }
    Ok(used)
}

impl Subject {
    /// Whether its own rows have to be read: figures say that something changes, or it is to be looked at closely.
    fn is_suspect(&self, closely: bool, now: Millis) -> bool {
        if closely && !self.before.is_empty() {
            return true;
        }
        let found = judge(
            &self.figures.used,
            &self.limits,
            self.figures.trial_until,
            &self.before,
            now,
        );
        found.len() != self.before.len()
            || found
                .iter()
                .any(|one| one.state == FindingState::Expiring || self.before.get(&one.reason) != Some(one))
            || Frozen::of(&found) != self.figures.frozen
    }
}
