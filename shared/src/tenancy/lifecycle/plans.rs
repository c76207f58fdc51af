//! Plans, and what is in force for a tenant.

use super::{Lifecycle, LifecycleError, NewTenant};
use crate::{
    control::{
        audit::Actor,
        changes::{Change, Refused},
        plans::{self, Plan},
        tenants::{self, Filter, TenantRow},
    },
    db::DbError,
    ids::TenantId,
    tenancy::{
        Effective, EffectivePictures, Layers, Limit, LimitOverrides, Limits, PictureLayers, PictureSettings, on_trial,
    },
};
use std::sync::OnceLock;

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

/// More variants than the limit are refused where they are asked for: whoever asks shall know what will be made.
pub(super) fn check_variants(
    whose: impl Fn() -> String,
    pictures: &PictureSettings,
    in_force: &Limits,
) -> Result<(), Refused> {
    let allowed = in_force.variants;
    match pictures.variants() {
        Some(given) if allowed > 0 && i64::try_from(given).unwrap_or(i64::MAX) > allowed => {
            Err(Refused::TooManyVariants {
                whose: whose(),
                given,
                allowed,
            })
        }
        Some(_) | None => Ok(()),
    }
}

impl Lifecycle {
    /// Makes a plan and tells every process. Returns whether the id was free.
    ///
    /// # Errors
    /// When it would have more variants than it allows, or the database is away.
    pub async fn create_plan(&self, plan: &Plan, actor: &Actor) -> Result<bool, LifecycleError> {
        self.check_plan(plan)?;
        let detail = serde_json::json!({
            "plan": plan.id, "limits": plan.limits.to_json(), "env": plan.env.is_some(), "pictures": plan.pictures.to_column(),
        });
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
    /// When it would get more variants than it allows, or the database is away.
    pub async fn edit_plan(
        &self,
        id: &str,
        edit: impl Fn(&mut Plan) -> bool + Send + Sync,
        actor: &Actor,
    ) -> Result<Option<Plan>, LifecycleError> {
        let entry = self
            .entry(actor, "plan.edit", None)
            .with(serde_json::json!({ "plan": id }));
        let refused = OnceLock::new();
        let checked = |plan: &mut Plan| {
            let before = plan.pictures.clone();
            if !edit(plan) {
                return false;
            }
            if plan.pictures != before
                && let Err(no) = self.check_plan(plan)
            {
                let _ = refused.set(no);
                return false;
            }
            true
        };
        let edited = plans::edit(&self.control, id, checked, &entry, self.clock.now()).await?;
        if let Some(refused) = refused.into_inner() {
            return Err(refused.into());
        }
        if edited.is_some() {
            self.resolver.refresh_plan(id).await?;
        }
        Ok(edited)
    }

    /// By what the plan itself allows: what its tenants set for themselves is not looked at.
    fn check_plan(&self, plan: &Plan) -> Result<(), Refused> {
        let (defaults, enforced) = self.resolver.installation();
        let layers = Layers {
            enforced,
            tenant: &LimitOverrides::default(),
            plan: Some(&plan.limits),
            on_trial: false,
            defaults,
        };
        check_variants(|| format!("plan {}", plan.id), &plan.pictures, &layers.resolve())
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

    /// What becomes of a tenant's pictures, who says so, and how many variants it may have (0 is any number), as the control
    /// database has it now.
    ///
    /// # Errors
    /// When there is no such tenant, or the database is away.
    pub async fn explain_pictures(&self, id: &TenantId) -> Result<(EffectivePictures, i64), LifecycleError> {
        let (row, plan) = self.row_and_plan(id).await?;
        let layers = PictureLayers {
            tenant: &row.pictures,
            plan: plan.as_ref().map(|plan| &plan.pictures),
        };
        let limits = self.layers(&row, plan.as_ref().map(|plan| &plan.limits)).resolve();
        Ok((layers.explain(), limits.variants))
    }

    /// Whether a tenant may have the pictures that a change gives it, by what would be in force after it.
    pub(super) async fn check_change(&self, id: &TenantId, change: &Change) -> Result<(), LifecycleError> {
        let Some(pictures) = &change.pictures else {
            return Ok(());
        };
        let (mut row, mut plan) = self.row_and_plan(id).await?;
        if let Some(wanted) = &change.plan {
            plan = match wanted {
                Some(plan) => plans::get(&self.control, plan).await?,
                None => None,
            };
        }
        if let Some(limits) = &change.limits {
            row.limits = limits.clone();
        }
        row.trial_until = change.trial_until.unwrap_or(row.trial_until);
        let limits = self.layers(&row, plan.as_ref().map(|plan| &plan.limits)).resolve();
        Ok(check_variants(|| format!("tenant {id}"), pictures, &limits)?)
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
