//! Plans, and what is in force for a tenant.

use super::{Lifecycle, LifecycleError, NewTenant};
use crate::{
    control::{
        audit::Actor,
        changes::Refused,
        plans::{self, Plan},
        tenants::{self, Filter, TenantRow},
    },
    db::DbError,
    ids::TenantId,
    tenancy::{Effective, Layers, Limit, LimitOverrides, Limits, on_trial},
};

/// Tenants read at a time.
const PAGE: i64 = 500;

/// A tenant that uses more of something than it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// The tenant.
    pub tenant: TenantId,
    /// Of what.
    pub limit: Limit,
    /// How much it uses.
    pub used: i64,
    /// How much it may.
    pub allowed: i64,
}

impl Lifecycle {
    /// Makes a plan and tells every process. Returns whether the id was free.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn create_plan(&self, plan: &Plan, actor: &Actor) -> Result<bool, LifecycleError> {
        let detail = serde_json::json!({ "plan": plan.id, "limits": plan.limits.to_json(), "env": plan.env.is_some() });
        let entry = self.entry(actor, "plan.create", None).with(detail);
        let made = plans::create(&self.control, plan, &entry, self.clock.now()).await?;
        if made {
            self.resolver.refresh_plan(&plan.id).await?;
        }
        Ok(made)
    }

    /// Changes a plan by `edit`, which sees it as it is, and tells every process: the next upload anywhere is judged by it.
    /// Returns it as it became; `None` when there is no such plan, or when `edit` declines.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn edit_plan(
        &self,
        id: &str,
        edit: impl Fn(&mut Plan) -> bool + Send + Sync,
        actor: &Actor,
    ) -> Result<Option<Plan>, LifecycleError> {
        let entry = self
            .entry(actor, "plan.edit", None)
            .with(serde_json::json!({ "plan": id }));
        let edited = plans::edit(&self.control, id, edit, &entry, self.clock.now()).await?;
        if edited.is_some() {
            self.resolver.refresh_plan(id).await?;
        }
        Ok(edited)
    }

    /// Removes a plan and tells every process. Its tenants stay, without what they inherited. Returns whether it was there.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn delete_plan(&self, id: &str, actor: &Actor) -> Result<bool, LifecycleError> {
        let entry = self
            .entry(actor, "plan.delete", None)
            .with(serde_json::json!({ "plan": id }));
        let deleted = plans::delete(&self.control, id, &entry, self.clock.now()).await?;
        if deleted {
            self.resolver.refresh_plan(id).await?;
        }
        Ok(deleted)
    }

    /// Every limit in force for a tenant, and where its value comes from, as the control database has it now.
    ///
    /// # Errors
    /// When there is no such tenant, or the database is away.
    pub async fn explain(&self, id: &TenantId) -> Result<Vec<Effective>, LifecycleError> {
        let (row, plan) = self.row_and_plan(id).await?;
        Ok(self.layers(&row, plan.as_ref().map(|plan| &plan.limits)).explain())
    }

    /// The limits in force for a tenant, as the control database has them now.
    pub(super) async fn in_force(&self, id: &TenantId) -> Result<Limits, LifecycleError> {
        let (row, plan) = self.row_and_plan(id).await?;
        Ok(self.layers(&row, plan.as_ref().map(|plan| &plan.limits)).resolve())
    }

    async fn row_and_plan(&self, id: &TenantId) -> Result<(TenantRow, Option<Plan>), LifecycleError> {
        let Some(row) = tenants::get(&self.control, id).await? else {
            return Err(Refused::Missing { id: id.clone() }.into());
        };
        let plan = match &row.plan {
            Some(plan) => plans::get(&self.control, plan).await?,
            None => None,
        };
        Ok((row, plan))
    }

    /// What a tenant that is yet to be made will be allowed.
    pub(super) fn allowed_to(&self, new: &NewTenant, plan: Option<&LimitOverrides>) -> Limits {
        let (defaults, enforced) = self.resolver.installation();
        let layers = Layers {
            enforced,
            tenant: &new.limits,
            plan,
            on_trial: on_trial(new.trial_until, &new.limits, self.clock.now()),
            defaults,
        };
        layers.resolve()
    }

    fn layers<'a>(&'a self, row: &'a TenantRow, plan: Option<&'a LimitOverrides>) -> Layers<'a> {
        let (defaults, enforced) = self.resolver.installation();
        Layers {
            enforced,
            tenant: &row.limits,
            plan,
            on_trial: on_trial(row.trial_until, &row.limits, self.clock.now()),
            defaults,
        }
    }

    /// Which tenants of a plan would use more than they may if the plan set `limits`. `each` hears of every tenant that was
    /// looked at and returns whether to go on.
    ///
    /// # Errors
    /// When a database is away.
    pub async fn preview_plan(
        &self,
        id: &str,
        limits: &LimitOverrides,
        mut each: impl FnMut(&TenantId, Vec<Over>) -> bool,
    ) -> Result<(), DbError> {
        let mut after = None::<String>;
        loop {
            let (page, last) = self.preview_page(id, limits, after.as_deref(), PAGE).await?;
            if last.is_none() {
                return Ok(());
            }
            after = last;
            for (tenant, over) in page {
                if !each(&tenant, over) {
                    return Ok(());
                }
            }
        }
    }

    /// One page of [`Self::preview_plan`]: at most `limit` tenants after `after` (a serial), and the last one's serial;
    /// `None` when there is none left.
    ///
    /// # Errors
    /// When a database is away.
    pub async fn preview_page(
        &self,
        id: &str,
        limits: &LimitOverrides,
        after: Option<&str>,
        limit: i64,
    ) -> Result<(Vec<(TenantId, Vec<Over>)>, Option<String>), DbError> {
        let filter = Filter {
            plan: Some(id.to_owned()),
            ..Filter::default()
        };
        let page = tenants::page(&self.control, &filter, after, limit).await?;
        let last = page.last().map(|row| row.serial.clone());
        let mut looked_at = Vec::with_capacity(page.len());
        for row in page {
            let allowed = self.layers(&row, Some(limits)).resolve();
            let over = self.over(&row, &allowed).await?;
            looked_at.push((row.id, over));
        }
        Ok((looked_at, last))
    }

    /// What a tenant uses more of than `allowed`.
    async fn over(&self, row: &TenantRow, allowed: &Limits) -> Result<Vec<Over>, DbError> {
        let Some(used) = self.used(row).await? else {
            return Ok(Vec::new());
        };
        let over = used.into_iter().filter_map(|(limit, used)| {
            let most = allowed.get(limit);
            (most > 0 && used > most).then(|| Over {
                tenant: row.id.clone(),
                limit,
                used,
                allowed: most,
            })
        });
        Ok(over.collect())
    }
}
