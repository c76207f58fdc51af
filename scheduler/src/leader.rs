//! One leader at a time: a lease with a fence, any number standing by.
//!
//! The lease lies in the control database where that is a server, which every process of an installation shares, and which no timer
//! works without. Where it is a file there is one machine: the lease lies in the cache, so in this process, or in Redis if there is one.

use mediamill_shared::{
    BoxError,
    cache::{CachePort, Fence},
    control::leadership::{self, Sight},
    db::{DbError, Engine},
    services::Services,
    units::Millis,
};
use std::time::Duration;

/// The lease's name.
const LEASE: &str = "scheduler";
/// A leader that was not heard of for so long is replaced.
pub const LEASE_TTL: Duration = Duration::from_secs(15);
/// How often it is heard of, and looked for.
pub const RENEW: Duration = Duration::from_secs(5);

/// Who this process is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It runs the timers, under this fence.
    Leads(Fence),
    /// Somebody else runs them.
    StandsBy,
    /// The cache does not answer, so nobody can tell: timers repeat harmlessly, so everybody on this machine runs them.
    Alone,
}

/// This process's claim to lead.
#[derive(Debug, Clone)]
pub struct Leader {
    owner: String,
    /// Another's lease, and since when it has been seen so.
    seen: Option<(Sight, Millis)>,
}

impl Leader {
    /// A claim of `owner`.
    #[must_use]
    pub const fn new(owner: String) -> Self {
        Self { owner, seen: None }
    }

    /// Who claims.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Takes or renews the lease.
    ///
    /// # Errors
    /// When the control database is away: what was so before is so until the lease is over.
    pub async fn standing(&mut self, services: &Services) -> Result<Standing, DbError> {
        match services.control.engine() {
            Engine::Postgres => {
                let fence = self.by_database(services).await?;
                Ok(fence.map_or(Standing::StandsBy, Standing::Leads))
            }
            Engine::Sqlite => Ok(self.by_cache(services).await),
        }
    }

    async fn by_cache(&self, services: &Services) -> Standing {
        match services.cache.acquire(LEASE, &self.owner, LEASE_TTL).await {
            Ok(Some(fence)) => Standing::Leads(fence),
            Ok(None) => Standing::StandsBy,
            Err(_) => Standing::Alone,
        }
    }

    async fn by_database(&mut self, services: &Services) -> Result<Option<Fence>, DbError> {
        let (db, now) = (&services.control, services.clock.now());
        if self.seen.is_none()
            && let Some(fence) = leadership::renew(db, LEASE, &self.owner).await?
        {
            return Ok(Some(fence));
        }
        let sight = leadership::look(db, LEASE).await?;
        let is_over = match (sight, self.seen) {
            (None, _) => true,
            (Some(sight), _) if sight.is_free => true,
            (Some(sight), Some((seen, since))) if seen == sight => now >= since.after(LEASE_TTL),
            (Some(sight), _) => {
                self.seen = Some((sight, now));
                false
            }
        };
        if !is_over {
            return Ok(None);
        }
        let fence = leadership::take(db, LEASE, &self.owner, sight).await?;
        // Its own from now on, or another's that has not been seen yet.
        self.seen = None;
        Ok(fence)
    }

    /// Gives the lease back, so that another need not wait for its end.
    pub async fn resign(&self, services: &Services) {
        let given: Result<(), BoxError> = match services.control.engine() {
            Engine::Postgres => leadership::resign(&services.control, LEASE, &self.owner)
                .await
                .map_err(Into::into),
            Engine::Sqlite => services
                .cache
                .release(LEASE, &self.owner)
                .await
                .map(drop)
                .map_err(Into::into),
        };
        if let Err(error) = given {
            tracing::debug!(
                error = &*error as &dyn std::error::Error,
                "the scheduler's lease ends by itself"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mediamill_shared::testing::World;

    mediamill_shared::on_both_sides!(whoever_stands_by_leads_when_the_other_is_silent_for_as_long_as_the_lease);

    async fn whoever_stands_by_leads_when_the_other_is_silent_for_as_long_as_the_lease(world: World) {
        let clock = mediamill_shared::clock::Clock::manual(world.services.clock.now());
        let services = Services {
            clock: clock.clone(),
            ..world.services.clone()
        };
        if services.control.engine() == Engine::Sqlite {
            // The cache has a clock of its own, and its contract a test for this.
            let mut only = Leader::new("only".into());
            assert!(matches!(only.standing(&services).await.unwrap(), Standing::Leads(_)));
            return;
        }
        let (mut one, mut two) = (Leader::new("one".into()), Leader::new("two".into()));
        let leads = |fence| Standing::Leads(Fence(fence));
        assert_eq!(one.standing(&services).await.unwrap(), leads(1));
        assert_eq!(two.standing(&services).await.unwrap(), Standing::StandsBy);
        clock.advance(LEASE_TTL.saturating_sub(Duration::from_millis(1)));
        assert_eq!(two.standing(&services).await.unwrap(), Standing::StandsBy);
        // A sign of life: the time begins anew.
        assert_eq!(one.standing(&services).await.unwrap(), leads(1));
        clock.advance(Duration::from_millis(1));
        assert_eq!(two.standing(&services).await.unwrap(), Standing::StandsBy);
        clock.advance(LEASE_TTL);
        assert_eq!(two.standing(&services).await.unwrap(), leads(2));
        assert_eq!(one.standing(&services).await.unwrap(), Standing::StandsBy);
        // One that resigns is not waited for.
        two.resign(&services).await;
        assert_eq!(one.standing(&services).await.unwrap(), leads(3));
        assert_eq!(two.standing(&services).await.unwrap(), Standing::StandsBy);
    }
}
