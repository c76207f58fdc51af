//! Holds tenants to their limits again: those that changed, or whose plan did, with each run; all of them every few minutes, so that
//! what nobody noticed is found.

use crate::{
    scope::Scope,
    timer::{Report, Scoped, Timer, TimerError},
};
use mediamill_shared::{
    control::{
        activity::{self, Noticed, Watcher},
        operator_keys,
        passes::Pass,
    },
    ids::TenantId,
    services::Services,
};
use std::{collections::HashSet, time::Duration};

/// Tenants that are looked at together.
const PAGE: i64 = 1_000;
/// Pages of the pass over all tenants in one run.
const PAGES: usize = 10;
/// Changed plans whose tenants are noticed in one run.
const PLANS: i64 = 20;
/// Between the starts of two passes.
const AGAIN: Duration = Duration::from_secs(600);

pub(crate) struct EnforceLimits;

impl Timer for EnforceLimits {
    const NAME: &'static str = "enforce-limits";
    const EVERY: Duration = Duration::from_secs(15);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let mut report = Report::default();
        let ended = operator_keys::tell_ended(&services.control, &services.clock, &services.entropy);
        report.changed = ended.await?;
        let changed = changed(services, &mut report, PAGE).await?;
        let passed = pass(services, &mut report).await?;
        report.unfinished = changed || passed;
        Ok(report)
    }
}

impl Scoped for EnforceLimits {
    async fn run_in(services: &Services, scope: &Scope) -> Result<Report, TimerError> {
        let mut report = Report::default();
        let mut after: Option<TenantId> = None;
        loop {
            let (one, dry) = (scope.tenant().map(std::slice::from_ref), scope.is_dry());
            let enforced = match (one, dry) {
                (Some(one), true) => services.lifecycle.would_enforce(one).await?,
                (Some(one), false) => services.lifecycle.enforce(one).await?,
                (None, true) => services.lifecycle.would_enforce_page(after.as_ref(), PAGE).await?,
                (None, false) => services.lifecycle.enforce_page(after.as_ref(), PAGE).await?,
            };
            report.changed = report.changed.saturating_add(enforced.changed);
            for entry in &enforced.decided {
                let said = || format!("{} {}", entry.action, entry.detail);
                scope.tell(entry.tenant.as_ref(), said).await;
            }
            for tenant in &enforced.failed {
                scope.tell(Some(tenant), || "its tables do not answer".to_owned()).await;
            }
            let full = i64::try_from(enforced.looked_at).unwrap_or(i64::MAX) >= PAGE;
            if one.is_some() || !full {
                return Ok(report);
            }
            after = enforced.last.or(after);
        }
    }
}

/// Looks at tenants that were noticed, at most `most`. Returns whether there are more.
pub(super) async fn changed(services: &Services, report: &mut Report, most: i64) -> Result<bool, TimerError> {
    let (control, now) = (&services.control, services.clock.now());
    let plans = activity::notice_plans(control, now, PLANS).await?;
    let round = activity::notice(control, Watcher::Enforcement, now, most).await?;
    let noticed = activity::noticed(control, Watcher::Enforcement, round, most).await?;
    let tenants: Vec<TenantId> = noticed.iter().map(|one| one.tenant.clone()).collect();
    let enforced = services.lifecycle.enforce(&tenants).await?;
    report.changed = report.changed.saturating_add(enforced.changed);
    let failed: HashSet<&TenantId> = enforced.failed.iter().collect();
    let seen = noticed.iter().filter(|one| !failed.contains(&one.tenant));
    let seen: Vec<Noticed> = seen.cloned().collect();
    let later = activity::behind(round, services.clock.now());
    activity::seen(control, Watcher::Enforcement, &seen, later).await?;
    activity::put_off(control, Watcher::Enforcement, &enforced.failed, later).await?;
    Ok(plans || activity::is_left(control, Watcher::Enforcement, round).await?)
}

/// Goes on with the pass over all tenants, or begins one when it is time. Returns whether it has not come to its end.
async fn pass(services: &Services, report: &mut Report) -> Result<bool, TimerError> {
    let (control, now) = (&services.control, services.clock.now());
    // The last tenant that was looked at.
    let last: Option<Pass<Option<TenantId>>> = Pass::last(control, EnforceLimits::NAME).await?;
    let mut pass = match last {
        Some(last) if last.ended_at.is_none() => last,
        Some(last) if now < last.began_at.after(AGAIN) => return Ok(false),
        Some(_) | None => Pass::new(now),
    };
    for _ in 0..PAGES {
        // Whoever fails is looked at by the next pass.
        let enforced = services.lifecycle.enforce_page(pass.progress.as_ref(), PAGE).await?;
        report.changed = report.changed.saturating_add(enforced.changed);
        let over = i64::try_from(enforced.looked_at).unwrap_or(i64::MAX) < PAGE;
        pass.progress = enforced.last.or(pass.progress);
        pass.ended_at = over.then(|| services.clock.now());
        pass.keep(control, EnforceLimits::NAME).await?;
        if over {
            return Ok(false);
        }
    }
    Ok(true)
}
