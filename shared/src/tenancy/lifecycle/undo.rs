//! A tenant that was accepted and never served is taken back, with whatever has come of it.

use super::{
    Lifecycle, LifecycleError,
    provision::{place_of, shared_with_control},
};
use crate::{
    control::{audit::Actor, changes, moves, tenants},
    db::Bounded,
    ids::{JobId, TenantId},
    jobs::ProvisionTenant,
    tenancy::{Place, TenantState, migrate},
};

impl Lifecycle {
    /// Takes back what there is of a tenant that was accepted and never served. Called twice it changes nothing.
    ///
    /// # Errors
    /// When a database is away.
    pub async fn undo(
        &self,
        id: &TenantId,
        cause: &str,
        actor: &Actor,
        job: Option<&JobId>,
    ) -> Result<(), LifecycleError> {
        self.undo_at(id, None, cause, actor, job).await
    }

    /// Takes back what has come of `wanted`, likewise. A tenant that was accepted by the same id since stays.
    ///
    /// # Errors
    /// When a database is away.
    pub async fn undo_wanted(
        &self,
        (id, wanted): (&TenantId, &ProvisionTenant),
        cause: &str,
        actor: &Actor,
        job: Option<&JobId>,
    ) -> Result<(), LifecycleError> {
        self.undo_at(id, place_of(wanted), cause, actor, job).await
    }

    /// Wherever it is, or only at `place`.
    async fn undo_at(
        &self,
        id: &TenantId,
        place: Option<Place>,
        cause: &str,
        actor: &Actor,
        job: Option<&JobId>,
    ) -> Result<(), LifecycleError> {
        let Some(row) = tenants::get(&self.control, id).await? else {
            // A call before this one may have died before it told anybody.
            self.resolver.refresh(id).await?;
            return Ok(());
        };
        if place.is_some_and(|place| place.prefix != row.place.prefix) {
            return Ok(());
        }
        match row.state {
            // From here on no attempt that is still at work puts it into service.
            TenantState::Provisioning => {
                if !changes::begin_undo(&self.control, (id, &row.serial), cause, self.clock.now()).await? {
                    return Ok(());
                }
            }
            // A call before this one got as far as that; a removal does the same.
            TenantState::Deleting => {}
            TenantState::Active | TenantState::Suspended | TenantState::Leaving => return Ok(()),
        }
        let hosts = tenants::hosts(&self.control, id).await?;
        migrate::drop_place(&self.databases, &row.place).await?;
        let detail = serde_json::json!({ "cause": cause, "step": row.step });
        let entry = self.entry(actor, "tenant.undo", Some(id)).with(detail);
        let mut tx = self.control.begin_write().await?;
        let gone = changes::forget(&mut tx, (id, &row.serial), job, &entry).await?;
        if gone && !shared_with_control(&row.place) {
            // What such an attempt makes after the drop goes as soon as it can be over.
            let drop_after = self.clock.now().after(self.settings.linger);
            moves::retire(&mut tx, id, &row.place, drop_after).await?;
        }
        tx.commit().bounded("undo a tenant").await?;
        // Also where another call ended it, which may have died before it told anybody.
        let lost: Vec<String> = hosts.into_iter().map(|host| host.name).collect();
        self.resolver.refresh_without(id, &lost).await?;
        Ok(())
    }
}
