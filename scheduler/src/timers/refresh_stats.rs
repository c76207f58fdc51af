//! Counts the figures that the Tenants API shows, for tenants whose were counted longest ago.

use crate::timer::{Report, Timer, TimerError};
use futures_util::{StreamExt, stream};
use mediamill_shared::{control::stats, ids::TenantId, services::Services};
use std::time::Duration;

/// Figures older than this are counted anew.
const OLD: Duration = Duration::from_secs(900);
/// Tenants that are counted in one run at most.
const MOST: usize = 500;
/// Those that are looked at for that, since some may not answer: they stay the first.
const TRIES: usize = 5_000;
/// Tenants that are counted at a time.
const AT_A_TIME: usize = 8;

pub(crate) struct RefreshStats;

impl Timer for RefreshStats {
    const NAME: &'static str = "refresh-stats";
    const EVERY: Duration = Duration::from_secs(60);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        some(services, MOST, TRIES).await
    }
}

/// Counts the figures of `most` tenants, or of as many as answer among `tries`.
async fn some(services: &Services, most: usize, tries: usize) -> Result<Report, TimerError> {
    let before = services.clock.now().before(OLD);
    let (mut counted, mut left, mut last) = (0, tries, None);
    while counted < most && left > 0 {
        let wanted = i64::try_from((most - counted).min(left)).unwrap_or(i64::MAX);
        let page = stats::stale(&services.control, last.as_ref(), before, wanted).await?;
        last = page.last().cloned();
        if last.is_none() {
            break;
        }
        left -= page.len().min(left);
        let looks = stream::iter(page).map(|stale| async move { is_counted(services, &stale.tenant).await });
        let looks: Vec<bool> = looks.buffered(AT_A_TIME).collect().await;
        counted += looks.into_iter().filter(|is_counted| *is_counted).count();
    }
    Ok(Report {
        changed: i64::try_from(counted).unwrap_or(i64::MAX),
        unfinished: counted >= most,
    })
}

async fn is_counted(services: &Services, id: &TenantId) -> bool {
    let counted = services.lifecycle.refresh_stats(id).await;
    // One tenant's database that is away keeps nobody else's figures back.
    if let Err(error) = &counted {
        tracing::warn!(tenant.id = %id, error = error as &dyn std::error::Error, "a tenant's figures were not counted");
    }
    counted.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mediamill_shared::testing::World;

    mediamill_shared::on_both_sides!(
        figures_that_were_counted_longest_ago_are_the_first,
        whoever_does_not_answer_keeps_nobody_back,
    );

    async fn five(world: &World) {
        for number in 0..5 {
            world.another_tenant(&format!("t{number}")).await;
        }
    }

    const fn report(changed: i64, unfinished: bool) -> Report {
        Report { changed, unfinished }
    }

    const FRESH: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM tenant_stats WHERE refreshed_at > 1000";

    async fn figures_that_were_counted_longest_ago_are_the_first(world: World) {
        five(&world).await;
        assert_eq!(some(&world.services, 9, 9).await.unwrap(), report(6, false));
        world
            .execute("UPDATE tenant_stats SET refreshed_at = 2 WHERE tenant < 't3'", &[])
            .await;
        world
            .execute("UPDATE tenant_stats SET refreshed_at = 1 WHERE tenant >= 't3'", &[])
            .await;
        assert_eq!(some(&world.services, 2, 9).await.unwrap(), report(2, true));
        let later = "SELECT CAST(COUNT(*) AS BIGINT) FROM tenant_stats WHERE tenant >= 't3' AND refreshed_at > 1000";
        assert_eq!((world.number(FRESH).await, world.number(later).await), (2, 2));
    }

    async fn whoever_does_not_answer_keeps_nobody_back(world: World) {
        five(&world).await;
        world
            .execute("UPDATE tenants SET table_prefix = 'tnowhere' WHERE id < 't2'", &[])
            .await;
        for (counted, fresh) in [(2, 2), (1, 3), (0, 3)] {
            let done = some(&world.services, 2, 9).await.unwrap();
            assert_eq!(done, report(counted, counted == 2));
            assert_eq!(world.number(FRESH).await, fresh);
        }
        // As many as that are not looked at in one run.
        world.execute("DELETE FROM tenant_stats", &[]).await;
        assert_eq!(some(&world.services, 2, 3).await.unwrap(), report(0, false));
    }
}
