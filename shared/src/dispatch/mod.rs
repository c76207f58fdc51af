//! Fair dispatch: whose jobs are in the queue when there are more than workers can take.
//!
//! - A tenant has a *share* of each pool's queue. What it has there is counted in the cache, as a quota is: seeded from the rows,
//!   and again when its time is up, so a place that nobody gave back comes back by itself.
//! - A job that is accepted while its tenant's share is full is *held*: it stays in `jobs`, and `dispatch_turns` says that its
//!   tenant waits.
//! - Workers release held jobs. When one has ended its tenant's next takes its place at once. Workers that would have nothing to do
//!   release more, in turns, whatever the shares are: a share never keeps a worker idle.
//! - Turns are weighted fair queueing: each released job puts its tenant's turn off by a cost that is the smaller the more the tenant
//!   weighs, and the smallest turn is next. A tenant's bulk lane has turns of its own, four times as dear.
//!
//! The limit `jobs_in_flight` is a bound that nothing passes. Without a cache nobody counts, and the queue is first come, first
//! served. Any number of processes do this at once; the rows decide who has released a job.

use crate::{
    cache::{Added, Cache, CachePort, HELD_CHANNEL},
    clock::Clock,
    control::jobs::{self, NewJob, Revived, Turn, Wait},
    db::{Db, DbError},
    ids::{JobId, TenantId},
    jobs::{Envelope, Lane, Outbox, Pool, publish},
    queue::Queue,
    telemetry::names,
    tenancy::{Limits, Resolver, Tenant},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Life of a count: the longest that a lost place stays lost.
const COUNT_TTL: Duration = Duration::from_secs(60);
/// Seeding and taking less than was asked for, before nothing is taken.
const ATTEMPTS: u32 = 4;
/// Waiting tenants that are looked at in one go.
const LOOK_AT: usize = 128;
/// How often in a row, while workers are idle: whoever may have nothing for now is not in the way of those behind.
const PAGES: usize = 8;
/// Jobs of a tenant that are released in one go.
const AT_ONCE: i64 = 256;
/// What a released job costs a tenant of weight 1.
const COST: i64 = 1_000;
/// What a turn of the bulk lane costs, and the part of the share that it has.
const BULK: i64 = 4;

/// What [`Dispatch`] is made of.
#[derive(Clone, Debug)]
pub struct DispatchParts {
    /// The control database.
    pub control: Db,
    /// Where places are counted.
    pub cache: Cache,
    /// Where released jobs go.
    pub queue: Queue,
    /// How they go there.
    pub outbox: Outbox,
    /// Whose limits hold.
    pub resolver: Resolver,
    /// Time.
    pub clock: Clock,
}

/// Decides what goes to the queue now. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Dispatch {
    parts: Arc<DispatchParts>,
    /// Places of a tenant of weight 1 in each pool. `None`: as many as there are.
    share: Option<i64>,
}

/// Why held jobs are to be released.
#[derive(Debug, Clone, Default)]
pub struct Occasion {
    /// Tenants whose jobs have ended, and how many.
    pub ended: BTreeMap<TenantId, i64>,
    /// Jobs that could be begun at once, and are not there.
    pub idle: usize,
    /// Whether all who wait are looked at, and not those alone whose jobs have ended.
    pub all: bool,
}

/// Jobs that were released.
#[derive(Debug, Default)]
pub struct Released {
    /// Whoever asked runs them: they have no message. Where rows are messages there are none of these.
    pub here: Vec<Envelope>,
    /// They went to the queue.
    pub queued: Vec<JobId>,
}

impl Released {
    /// All of them.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobId> {
        let here = self.here.iter().map(|envelope| envelope.job().clone());
        here.chain(self.queued.iter().cloned()).collect()
    }
}

/// Places that were taken for a tenant's held jobs.
struct Granted {
    turn: Turn,
    places: i64,
    /// What a place puts the turn off by.
    cost: i64,
    /// What it may have altogether.
    most: Option<i64>,
    /// It gets no more now.
    full: bool,
}

/// How `places` are shared out by turns: for each of `granted` how many.
fn shared_out(granted: &[Granted], places: i64) -> Vec<i64> {
    let mut counts = vec![0; granted.len()];
    let mut next: Vec<i64> = granted
        .iter()
        .map(|one| one.turn.at.saturating_add(one.cost.saturating_mul(one.places)))
        .collect();
    for _ in 0..places {
        let open = granted.iter().zip(&next).enumerate().filter(|(_, (one, _))| !one.full);
        let Some((place, _)) = open.min_by_key(|(_, (_, at))| **at) else {
            break;
        };
        if let (Some(count), Some(at), Some(one)) = (counts.get_mut(place), next.get_mut(place), granted.get(place)) {
            *count += 1;
            *at = at.saturating_add(one.cost);
        }
    }
    counts
}

fn key(tenant: &TenantId, pool: Pool) -> String {
    format!("dispatch:{pool}:{tenant}")
}

fn weight(limits: &Limits) -> i64 {
    limits.dispatch_weight.max(1)
}

fn most(limits: &Limits) -> Option<i64> {
    (limits.jobs_in_flight > 0).then_some(limits.jobs_in_flight)
}

impl Dispatch {
    /// Dispatches by shares of `share` places, or first come, first served.
    #[must_use]
    pub fn new(parts: DispatchParts, share: Option<i64>) -> Self {
        let parts = Arc::new(parts);
        Self { parts, share }
    }

    /// Takes places for `count` jobs that `tenant` is about to have accepted. Returns how many there were: the others are held.
    pub async fn admit(&self, tenant: &Tenant, pool: Pool, lane: Lane, count: usize) -> usize {
        let limits = &tenant.context().limits;
        let Some(ceiling) = self.ceiling(limits, lane) else {
            return count;
        };
        let asked = i64::try_from(count).unwrap_or(i64::MAX);
        let taken = self.take(tenant.id(), pool, asked, ceiling).await;
        usize::try_from(taken).unwrap_or(0)
    }

    /// Accepts a job of `tenant` that nobody waits for, in the bulk lane: what timers and other jobs leave to do is behind what people
    /// wait for, and however much it is in nobody else's way.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn accept(&self, tenant: &Tenant, mut job: NewJob) -> Result<(), DbError> {
        let DispatchParts {
            control,
            queue,
            outbox,
            clock,
            ..
        } = &*self.parts;
        job.lane = Lane::Bulk;
        let admitted = self.admit(tenant, job.pool, job.lane, 1).await;
        job.held = admitted == 0;
        let (now, published) = (clock.now(), queue.rows_are_messages());
        if let Err(error) = jobs::accept(control, std::slice::from_ref(&job), now, published).await {
            self.give_back(tenant.id(), job.pool, admitted).await;
            return Err(error);
        }
        if job.held {
            self.held(job.pool, 1).await;
        } else {
            outbox.offer(job.pool, job.envelope(now));
        }
        Ok(())
    }

    /// Gives places back whose jobs were not accepted.
    pub async fn give_back(&self, tenant: &TenantId, pool: Pool, count: usize) {
        self.free(tenant, pool, i64::try_from(count).unwrap_or(0)).await;
    }

    /// Tells workers that jobs are held: those that have nothing to do release them.
    pub async fn held(&self, pool: Pool, count: usize) {
        metrics::counter!(names::JOBS_HELD, "pool" => pool.as_str()).increment(count as u64);
        // They look every second all the same.
        let _ = self.parts.cache.signal(HELD_CHANNEL, &[pool.to_string()]).await;
    }

    /// Has at most `limit` retried jobs go on whose time has come. Returns how many there were.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn ripen(&self, limit: i64) -> Result<usize, DbError> {
        let DispatchParts {
            control, queue, clock, ..
        } = &*self.parts;
        let ripe = jobs::ripen(control, clock.now(), limit, queue.rows_are_messages()).await?;
        let count = ripe.len();
        self.revived(ripe).await;
        Ok(count)
    }

    /// Brings jobs on their way that were dead: into the queue, or to those who release what is held.
    pub async fn revived(&self, revived: Vec<Revived>) {
        let DispatchParts {
            control, queue, clock, ..
        } = &*self.parts;
        for pool in Pool::ALL {
            let held = |job: &&Revived| job.pool == *pool && job.wait == Wait::Turn;
            let count = revived.iter().filter(held).count();
            if count > 0 {
                self.held(*pool, count).await;
            }
        }
        let ready = revived.into_iter().filter(|job| job.wait == Wait::Nothing);
        let messages: Vec<_> = ready.map(|job| (job.pool, job.envelope)).collect();
        publish(control, queue, clock, messages).await;
    }

    /// What a tenant may have in a pool while others wait. `None`: as much as it likes.
    fn ceiling(&self, limits: &Limits, lane: Lane) -> Option<i64> {
        let share = self.share.map(|share| {
            let whole = share.saturating_mul(weight(limits));
            match lane {
                Lane::Interactive => whole,
                Lane::Bulk => (whole / BULK).max(1),
            }
        });
        match (share, most(limits)) {
            (Some(share), Some(most)) => Some(share.min(most)),
            (share, most) => share.or(most),
        }
    }

    /// Releases held jobs of `pool`, as the occasion asks for.
    ///
    /// # Errors
    /// When the database is away. What was released and not published, the scheduler publishes.
    pub async fn release(&self, pool: Pool, occasion: Occasion) -> Result<Released, DbError> {
        for (tenant, count) in &occasion.ended {
            self.free(tenant, pool, *count).await;
        }
        self.release_by(pool, occasion, LOOK_AT).await
    }

    /// Looks at `page` who wait at a time, and at more of them as long as workers are idle.
    async fn release_by(&self, pool: Pool, mut occasion: Occasion, page: usize) -> Result<Released, DbError> {
        let mut released = Released::default();
        let (idle, mut after) = (occasion.idle, None);
        for _ in 0..PAGES {
            let limit = i64::try_from(page).unwrap_or(i64::MAX);
            let turns = jobs::turns(&self.parts.control, pool, after.as_ref(), limit).await?;
            let is_last = turns.len() < page;
            after = turns.last().cloned();
            let (granted, left) = self.grant(pool, turns, &occasion).await;
            for one in granted.into_iter().filter(|one| one.places > 0) {
                let envelopes = self.release_of(pool, one).await?;
                self.bring(pool, envelopes, idle, &mut released);
            }
            if is_last || left == 0 {
                break;
            }
            occasion.idle = left;
        }
        Ok(released)
    }

    /// Takes places for those who wait: up to their shares, and beyond for workers that would be idle. How many of these are left.
    async fn grant(&self, pool: Pool, turns: Vec<Turn>, occasion: &Occasion) -> (Vec<Granted>, usize) {
        let mut granted = Vec::with_capacity(turns.len());
        let mut idle = i64::try_from(occasion.idle).unwrap_or(i64::MAX);
        for turn in turns {
            // Whoever is gone, or cannot be looked up now, weighs what most weigh.
            let limits = match self.parts.resolver.by_id(&turn.tenant).await {
                Ok(Some(tenant)) => tenant.context().limits,
                Ok(None) | Err(_) => Limits::default(),
            };
            let looked_at = occasion.all || occasion.ended.contains_key(&turn.tenant);
            let places = match self.ceiling(&limits, turn.lane) {
                _ if !looked_at => 0,
                Some(ceiling) => self.take(&turn.tenant, pool, ceiling.min(AT_ONCE), ceiling).await,
                None => AT_ONCE,
            };
            idle = idle.saturating_sub(places);
            let dear = match turn.lane {
                Lane::Interactive => COST,
                Lane::Bulk => COST * BULK,
            };
            granted.push(Granted {
                turn,
                places,
                cost: (dear / weight(&limits)).max(1),
                most: most(&limits),
                full: places >= AT_ONCE,
            });
        }
        // Whoever may not have what would be its part leaves it to the others.
        while idle > 0 && granted.iter().any(|one| !one.full) {
            let parts = shared_out(&granted, idle.min(AT_ONCE));
            for (one, asked) in granted.iter_mut().zip(parts).filter(|(_, asked)| *asked > 0) {
                let bound = one.most.unwrap_or(i64::MAX);
                let taken = self.take(&one.turn.tenant, pool, asked, bound).await;
                one.places = one.places.saturating_add(taken);
                one.full = taken < asked || one.places >= AT_ONCE;
                idle = idle.saturating_sub(taken);
            }
        }
        (granted, usize::try_from(idle).unwrap_or(0))
    }

    /// Brings released jobs on their way: as long as whoever asks would be idle, they are its own, else the queue's.
    fn bring(&self, pool: Pool, envelopes: Vec<Envelope>, idle: usize, released: &mut Released) {
        for envelope in envelopes {
            if !self.parts.queue.rows_are_messages() && released.here.len() < idle {
                released.here.push(envelope);
            } else {
                released.queued.push(envelope.job().clone());
                self.parts.outbox.offer(pool, envelope);
            }
        }
    }

    async fn release_of(&self, pool: Pool, granted: Granted) -> Result<Vec<Envelope>, DbError> {
        let DispatchParts {
            control, queue, clock, ..
        } = &*self.parts;
        let Granted { turn, places, cost, .. } = granted;
        let published = queue.rows_are_messages();
        let released = jobs::release(control, pool, &turn, (places, cost), clock.now(), published).await;
        let released = match released {
            Ok(released) => released,
            Err(error) => {
                self.free(&turn.tenant, pool, places).await;
                return Err(error);
            }
        };
        let count = i64::try_from(released.len()).unwrap_or(places);
        if count < places {
            self.free(&turn.tenant, pool, places - count).await;
            jobs::forget_turn(control, pool, &turn).await?;
        }
        if released.is_empty() {
            return Ok(Vec::new());
        }
        metrics::counter!(names::JOBS_RELEASED, "pool" => pool.as_str()).increment(released.len() as u64);
        Ok(released)
    }

    /// Takes up to `asked` places, so that there are at most `ceiling`. Returns how many.
    async fn take(&self, tenant: &TenantId, pool: Pool, asked: i64, ceiling: i64) -> i64 {
        let (key, cache) = (key(tenant, pool), &self.parts.cache);
        let mut wanted = asked;
        for _ in 0..ATTEMPTS {
            match cache.add_within(&key, wanted, Some(ceiling)).await {
                Ok(Added::Now(_)) => return wanted,
                Ok(Added::Over(used)) => {
                    wanted = ceiling.saturating_sub(used).min(wanted);
                    if wanted <= 0 {
                        return 0;
                    }
                }
                Ok(Added::Absent) => {
                    let Ok(used) = jobs::in_queue(&self.parts.control, tenant, pool).await else {
                        return asked;
                    };
                    if cache.seed(&key, used, COUNT_TTL).await.is_err() {
                        return asked;
                    }
                }
                // Nobody counts.
                Err(error) => {
                    tracing::debug!(tenant.id = %tenant, error = %error, "a tenant's jobs are not counted: the cache did not answer");
                    return asked;
                }
            }
        }
        0
    }

    async fn free(&self, tenant: &TenantId, pool: Pool, count: i64) {
        let key = key(tenant, pool);
        if count > 0
            && let Err(error) = self.parts.cache.add_within(&key, -count, None).await
        {
            tracing::debug!(tenant.id = %tenant, error = %error, "a tenant's places come back when they are counted anew");
        }
    }
}

#[cfg(test)]
mod tests;
