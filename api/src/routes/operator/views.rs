//! What operators' answers look like. The members outside of `mediamill` are those that Chevereto documents.

use crate::{
    problem::{Cause, Problem},
    routes::views::{CauseView, FindingView, rfc3339},
    state::State,
};
use mediamill_shared::{
    control::{
        audit::Entry,
        findings,
        jobs::JobRow,
        plans::Plan,
        tenants::{self, TenantRow},
    },
    ids::TenantId,
    secrets::SealedFor,
    services::Services,
    tenancy::{Effective, FindingState, Limit, Over, PictureSettings, Stats, TenantState, shown},
    units::Millis,
};
use serde::Serialize;
use serde_json::{Map, Value};
use time::{OffsetDateTime, PrimitiveDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;

/// A tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct TenantView {
    /// Its id.
    id: String,
    /// The main host it is served at.
    hostname: Option<String>,
    /// Whether it is served.
    is_enabled: bool,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    created_at: String,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    updated_at: String,
    /// Its plan; left out when it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_id: Option<String>,
    /// Its own limits: variables and texts.
    #[schema(value_type = Object)]
    limits: Map<String, Value>,
    /// Its own environment. Keys without the scope `tenants` see `***` for every value.
    #[schema(value_type = Object)]
    env: Map<String, Value>,
    /// Sixteen figures, as they were counted last.
    #[schema(value_type = Object)]
    stats: Stats,
    /// When a job of it ended last, `YYYY-MM-DD HH:MM:SS`, UTC.
    last_job_at: Option<String>,
    /// What Chevereto has no member for.
    mediamill: OwnTenantView,
}

/// What is known of a tenant beyond Chevereto's members.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnTenantView {
    /// `provisioning`, `active`, `suspended`, `leaving`, `deleting`.
    state: &'static str,
    /// Every host, the main one first.
    hosts: Vec<String>,
    /// `prefix` or `database`.
    isolation: &'static str,
    /// The server its tables are on.
    server: String,
    /// Grows with every change: its `ETag`.
    version: i64,
    /// The last step of its coming or going that is done.
    step: String,
    /// The job that moves it.
    moving: Option<String>,
    /// Its trial's end, `YYYY-MM-DD HH:MM:SS`, UTC.
    trial_until: Option<String>,
    /// When it is removed for good, `YYYY-MM-DD HH:MM:SS`, UTC.
    purge_at: Option<String>,
    /// Whether its uploads are refused until what does not fit does.
    frozen: bool,
    /// What does not fit, and what becomes of that; left out when all does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<FindingView>,
    /// What it says of its pictures; left out when it says nothing.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "PictureSettings::is_empty")]
    pictures: PictureSettings,
}

/// A plan.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanView {
    /// Its id.
    id: String,
    /// What its tenants inherit: variables and texts.
    #[schema(value_type = Object)]
    limits: Map<String, Value>,
    /// Their environment; null when there is none. Keys without the scope `plans` see `***` for every value.
    #[schema(value_type = Option<Object>)]
    env: Option<Map<String, Value>>,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    created_at: String,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    updated_at: String,
    /// What Chevereto has no member for.
    mediamill: OwnPlanView,
}

/// What is known of a plan beyond Chevereto's members.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnPlanView {
    /// For people.
    name: String,
    /// How new tenants of it are kept apart; null is up to the installation.
    isolation: Option<&'static str>,
    /// Where new tenants of it go; null is up to the installation.
    server: Option<String>,
    /// Grows with every change: its `ETag`.
    version: i64,
    /// What its tenants inherit for their pictures; left out when that is nothing.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "PictureSettings::is_empty")]
    pictures: PictureSettings,
}

/// A limit as it holds.
#[derive(Serialize, ToSchema)]
pub(crate) struct LimitView {
    /// `media`, `upload_bytes`, …
    name: &'static str,
    /// As Chevereto's API names it.
    variable: String,
    /// In the limit's unit; 0 is unlimited for numbers, off for toggles.
    value: i64,
    /// `count`, `bytes`, …
    unit: &'static str,
    /// For people.
    text: String,
    /// Who says so: `enforced`, `tenant_trial`, `tenant`, `plan_trial`, `plan`, `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'static str>,
}

/// A tenant that uses more than a plan would allow it.
#[derive(Serialize, ToSchema)]
pub(crate) struct OverView {
    /// The tenant.
    tenant: String,
    /// Of what.
    limit: &'static str,
    /// How much it uses.
    used: i64,
    /// How much it would be allowed.
    allowed: i64,
}

/// A job about a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct TenantJobView {
    /// Its id.
    id: String,
    /// `tenant.provision`, `tenant.migrate`, `tenant.deprovision`.
    kind: &'static str,
    /// The tenant.
    tenant: Option<String>,
    /// `queued`, `running`, `done`, `failed` or `dead`.
    state: &'static str,
    /// Attempts begun.
    attempts: i64,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    finished_at: Option<String>,
    /// Why its last attempt failed.
    cause: Option<CauseView>,
    /// Where it is shown.
    url: String,
}

/// A line of the audit log.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditView {
    /// Lines sort by it.
    id: String,
    /// RFC 3339.
    at: String,
    /// `key:1`, `cli`, `job:…`, …
    actor: String,
    /// `tenant.create`, …
    action: String,
    /// What else.
    #[schema(value_type = Object)]
    detail: Value,
}

/// A moment as Chevereto writes it, UTC.
pub(super) fn plain(moment: Millis) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let shown = OffsetDateTime::UNIX_EPOCH.saturating_add(time::Duration::milliseconds(moment.get()));
    shown.format(format).unwrap_or_default()
}

/// A moment as Chevereto writes it, or as RFC 3339 does.
pub(super) fn moment(text: &str) -> Result<Millis, Problem> {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let read = PrimitiveDateTime::parse(text, format)
        .map(PrimitiveDateTime::assume_utc)
        .or_else(|_| OffsetDateTime::parse(text, &Rfc3339));
    let millis = read.ok().map(|at| at.unix_timestamp_nanos() / 1_000_000);
    let millis = millis
        .and_then(|millis| i64::try_from(millis).ok())
        .filter(|millis| *millis >= 0);
    millis.map(Millis::new).ok_or_else(|| {
        let detail = format!("{text:?} is no moment: write YYYY-MM-DD HH:MM:SS (UTC), or RFC 3339");
        Problem::new(Cause::BadRequest, detail)
    })
}

/// An env by name: its values in clear, or hidden.
fn env(services: &Services, of: &SealedFor, sealed: Option<&str>, clear: bool) -> Result<Map<String, Value>, Problem> {
    let env = services.secrets.open_env(of, sealed)?;
    let value = |text: &str| Value::from(if clear { text } else { "***" });
    let values = env
        .iter()
        .map(|(name, secret)| (name.to_owned(), value(secret.reveal())));
    Ok(values.collect())
}

/// Tenants as they are shown, in order. `clear`: with the values of their env.
pub(super) async fn tenants(state: &State, rows: Vec<TenantRow>, clear: bool) -> Result<Vec<TenantView>, Problem> {
    let services = &state.services;
    let ids: Vec<TenantId> = rows.iter().map(|row| row.id.clone()).collect();
    let (hosts, figures, found) = tokio::try_join!(
        tenants::hosts_of(&services.control, &ids),
        services.lifecycle.stats_of(&ids),
        findings::of(&services.control, &ids)
    )?;
    let view = |row: TenantRow| {
        let names = hosts.get(&row.id).into_iter().flatten().map(|host| host.name.clone());
        let sealed_for = SealedFor::TenantEnv(row.id.clone());
        let found = found.get(&row.id).map_or(&[][..], Vec::as_slice);
        Ok(TenantView {
            hostname: row.host,
            is_enabled: row.state == TenantState::Active,
            created_at: plain(row.created_at),
            updated_at: plain(row.updated_at),
            plan_id: row.plan,
            limits: row.limits.to_chevereto(),
            env: env(services, &sealed_for, row.env.as_deref(), clear)?,
            stats: figures.get(&row.id).cloned().unwrap_or_default(),
            last_job_at: row.last_job_at.map(plain),
            mediamill: OwnTenantView {
                state: row.state.as_str(),
                hosts: names.collect(),
                isolation: row.place.isolation.as_str(),
                server: row.place.server.as_str().to_owned(),
                version: row.version,
                step: row.step,
                moving: row.moving.map(|job| job.to_string()),
                trial_until: row.trial_until.map(plain),
                purge_at: row.purge_at.map(plain),
                frozen: found.iter().any(|one| one.state == FindingState::Frozen),
                findings: found.iter().copied().map(FindingView::from).collect(),
                pictures: row.pictures,
            },
            id: row.id.to_string(),
        })
    };
    rows.into_iter().map(view).collect()
}

impl PlanView {
    /// `clear`: with the values of its env.
    pub(super) fn of(state: &State, plan: Plan, clear: bool) -> Result<Self, Problem> {
        let sealed_for = SealedFor::PlanEnv(plan.id.clone());
        let sealed = plan.env.as_deref();
        let env = sealed.map(|sealed| env(&state.services, &sealed_for, Some(sealed), clear));
        Ok(Self {
            limits: plan.limits.to_chevereto(),
            env: env.transpose()?,
            created_at: plain(plan.created_at),
            updated_at: plain(plan.updated_at),
            mediamill: OwnPlanView {
                name: plan.name,
                isolation: plan.isolation.map(mediamill_shared::tenancy::Isolation::as_str),
                server: plan.server.map(|server| server.as_str().to_owned()),
                version: plan.version,
                pictures: plan.pictures,
            },
            id: plan.id,
        })
    }
}

impl LimitView {
    /// A limit's value.
    pub(crate) fn of(limit: Limit, value: i64) -> Self {
        Self {
            name: limit.as_str(),
            variable: limit.variable(),
            value,
            unit: limit.unit().as_str(),
            text: shown(limit, value),
            origin: None,
        }
    }

    /// The same with where it comes from.
    pub(super) fn explained(effective: Effective) -> Self {
        Self {
            origin: Some(effective.origin.as_str()),
            ..Self::of(effective.limit, effective.value)
        }
    }
}

impl From<Over> for OverView {
    fn from(over: Over) -> Self {
        Self {
            tenant: over.tenant.to_string(),
            limit: over.limit.as_str(),
            used: over.used,
            allowed: over.allowed,
        }
    }
}

impl TenantJobView {
    /// Where it is shown.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn of(row: JobRow) -> Self {
        let text = row.cause;
        Self {
            url: format!("{}/jobs/{}", super::BASE, row.id),
            id: row.id.to_string(),
            kind: row.kind.as_str(),
            tenant: row.tenant.map(|id| id.to_string()),
            state: row.state.as_str(),
            attempts: row.attempts,
            created_at: rfc3339(row.created_at),
            finished_at: row.finished_at.map(rfc3339),
            cause: row.cause_code.map(|code| CauseView {
                code,
                text: text.unwrap_or_default(),
            }),
        }
    }
}

impl From<Entry> for AuditView {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id.to_string(),
            at: rfc3339(entry.at),
            actor: entry.actor,
            action: entry.action,
            detail: entry.detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_other_product_does_and_read_either_way() {
        let at = Millis::new(1_767_323_045_000);
        assert_eq!(plain(at), "2026-01-02 03:04:05");
        for text in [
            "2026-01-02 03:04:05",
            "2026-01-02T03:04:05Z",
            "2026-01-02T05:04:05+02:00",
        ] {
            assert_eq!(moment(text).unwrap(), at, "{text}");
        }
        for bad in [
            "",
            "tomorrow",
            "2026-02-30 00:00:00",
            "1969-12-31 23:59:59",
            "2026-01-02",
        ] {
            assert_eq!(moment(bad).unwrap_err().cause(), Cause::BadRequest, "{bad}");
        }
    }
}
