//! Placing a picture's files: room claimed, written to as many storages as there shall be copies, and elsewhere where one fails.

use super::{Opened, Places, Policy, Spot, Storages, policy};
use crate::{
    chain,
    control::storages::{self, Claimant, Claimed, Share, Shares},
    db::DbError,
    ids::MediaId,
    objects::{ObjectError, ObjectKey, Store, Stored},
    tenancy::Tenant,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Files that are written at a time.
const WRITES: usize = 4;
/// What a storage may take for a file at most, beside what the file's size takes.
const HANGS: Duration = Duration::from_secs(12);
/// Bytes a second that a storage must take.
const SLOWEST: u64 = 128 * 1024;

/// A file on its way to its places.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Its key, the same everywhere.
    pub key: ObjectKey,
    /// What is in it.
    pub bytes: Bytes,
    /// Its media type.
    pub content_type: &'static str,
    /// Whether it is an original.
    pub original: bool,
}

/// A file in its places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedFile {
    /// Size and checksum.
    pub stored: Stored,
    /// Where it is.
    pub places: Places,
}

/// What became of a picture's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The files, in the order they were given in.
    pub files: Vec<PlacedFile>,
    /// What may lie where it should not: writes that failed may have happened all the same.
    pub leftovers: Vec<(Spot, ObjectKey)>,
}

/// Why files were not placed.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// No storage takes them.
    #[error("no active storage takes {what}: add one, or activate one")]
    Nowhere {
        /// `originals` or `variants`.
        what: &'static str,
    },
    /// Storages that would take them do not, for now.
    #[error("{wanted} storages should hold {key}, {have} do: {problems}")]
    NoneLeft {
        /// Which file.
        key: ObjectKey,
        /// How many copies there should be.
        wanted: usize,
        /// How many there are.
        have: usize,
        /// What each of the others said.
        problems: String,
    },
    /// Another attempt has the job.
    #[error("another attempt at the job has taken over")]
    Overtaken,
    /// The body of a file, or its key, is at fault.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The control database is away.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Candidates for one file, in the order they are tried.
struct Plan {
    order: Vec<Arc<Opened>>,
    wanted: usize,
    /// Where it is by now.
    done: Vec<(Spot, Stored)>,
}

impl Storages {
    /// Places the files of `media` for a job. The same files placed again for it take no more room.
    ///
    /// # Errors
    /// When there are not as many storages as should hold a file, for now or at all. What was written stays, and so does what
    /// is claimed for it: another attempt at the job meets both.
    pub async fn place(
        &self,
        tenant: &Tenant,
        by: &Claimant,
        media: &MediaId,
        files: &[NewFile],
    ) -> Result<Placed, PlaceError> {
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let mut plans = Vec::with_capacity(files.len());
        for file in files {
            plans.push(self.plan(tenant, media, file.original, turn).await?);
        }
        let mut problems: BTreeMap<Spot, String> = BTreeMap::new();
        let mut leftovers = Vec::new();
        // Asked once: a storage that is tried after a pause is tried for all files of the picture.
        let now = self.0.clock.now();
        let mut well: BTreeMap<Spot, bool> = BTreeMap::new();
        loop {
            let mut next = Vec::new();
            for (plan, file) in plans.iter().zip(files) {
                let missing = plan.wanted.saturating_sub(plan.done.len());
                let usable = plan.order.iter().filter(|one| {
                    !problems.contains_key(&one.spot) && !plan.done.iter().any(|(spot, _)| *spot == one.spot)
                });
                let mut usable: Vec<_> = usable.cloned().collect();
                if usable.len() > missing {
                    // Stable. Those that are left alone come last: they are better than none.
                    usable.sort_by_key(|one| {
                        let admits = || self.0.health.admits(&one.spot, now);
                        !*well.entry(one.spot.clone()).or_insert_with(admits)
                    });
                }
                if usable.len() < missing {
                    return Err(PlaceError::NoneLeft {
                        key: file.key.clone(),
                        wanted: plan.wanted,
                        have: plan.done.len(),
                        problems: told(plan, &problems),
                    });
                }
                usable.truncate(missing);
                next.push(usable);
            }
            if next.iter().all(Vec::is_empty) {
                break;
            }
            if let Some(refused) = self.claim(by, &plans, &next, files).await? {
                problems.extend(refused);
                continue;
            }
            let writes = next.iter().enumerate().flat_map(|(number, chosen)| {
                let one = move |opened: &Arc<Opened>| (number, Arc::clone(opened));
                chosen.iter().map(one)
            });
            let writes: Vec<_> = writes.collect();
            let written = stream::iter(writes).map(|(number, opened)| async move {
                let file = files.get(number)?;
                let put = put(&opened, file).await;
                self.note(&opened.spot, &put);
                Some((number, opened, put))
            });
            for (number, opened, put) in written.buffered(WRITES).collect::<Vec<_>>().await.into_iter().flatten() {
                let (Some(plan), Some(file)) = (plans.get_mut(number), files.get(number)) else {
                    continue;
                };
                match put {
                    Ok(stored) => plan.done.push((opened.spot.clone(), stored)),
                    Err(error) if super::health::is_the_places(&error) => {
                        tracing::info!(storage = %opened.spot, error = &error as &dyn std::error::Error, "a file goes elsewhere");
                        leftovers.push((opened.spot.clone(), file.key.clone()));
                        problems.insert(opened.spot.clone(), chain(&error));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let files = plans.into_iter().filter_map(Plan::placed).collect();
        Ok(Placed { files, leftovers })
    }

    /// Storages that would take a file that lies in none of them, the best first, whether they answer or not: see
    /// [`Self::admits`].
    ///
    /// # Errors
    /// When the database is away.
    pub async fn targets(
        &self,
        tenant: &Tenant,
        media: &MediaId,
        original: bool,
        places: &Places,
    ) -> Result<Vec<Arc<Opened>>, DbError> {
        let mut candidates = self.candidates(tenant, original).await?;
        candidates.retain(|one| !places.held().contains(&one.spot));
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        Ok(ordered(tenant, media, candidates, turn))
    }

    async fn plan(&self, tenant: &Tenant, media: &MediaId, original: bool, turn: usize) -> Result<Plan, PlaceError> {
        let candidates = self.candidates(tenant, original).await?;
        let order = ordered(tenant, media, candidates, turn);
        if order.is_empty() {
            return Err(PlaceError::Nowhere {
                what: if original { "originals" } else { "variants" },
            });
        }
        let placement = &tenant.context().pictures.placement;
        let wanted = match placement.policy {
            Policy::Fixed => 1,
            Policy::Weighted | Policy::MostFree | Policy::RoundRobin => placement.replicas.min(order.len()),
        };
        Ok(Plan {
            order,
            wanted,
            done: Vec::new(),
        })
    }

    /// Claims room for what is written and what is about to be. What storages refuse it, and why.
    async fn claim(
        &self,
        by: &Claimant,
        plans: &[Plan],
        next: &[Vec<Arc<Opened>>],
        files: &[NewFile],
    ) -> Result<Option<BTreeMap<Spot, String>>, PlaceError> {
        let mut shares = Shares::new();
        for ((plan, chosen), file) in plans.iter().zip(next).zip(files) {
            let spots = plan.done.iter().map(|(spot, _)| spot);
            for spot in spots.chain(chosen.iter().map(|one| &one.spot)) {
                if *spot != Spot::Main {
                    let share: &mut Share = shares.entry(spot.clone()).or_default();
                    *share = share.with(crate::units::ByteCount::of(file.bytes.len()));
                }
            }
        }
        if shares.is_empty() {
            return Ok(None);
        }
        let refused = |spots: BTreeSet<Spot>, why: &str| {
            let one = |spot| (spot, why.to_owned());
            spots.into_iter().map(one).collect::<BTreeMap<_, _>>()
        };
        match storages::claim(&self.0.control, by, &shares, self.0.clock.now()).await? {
            Claimed::Yes => Ok(None),
            Claimed::Overtaken => Err(PlaceError::Overtaken),
            Claimed::NoRoom(ids) => Ok(Some(refused(ids, "it is full"))),
            Claimed::Closed(ids) => {
                self.forget();
                Ok(Some(refused(ids, "it takes nothing any more")))
            }
        }
    }
}

/// Candidates in the order that the tenant's placement says. The installation's own store is the only one where it is one.
fn ordered(tenant: &Tenant, media: &MediaId, candidates: Vec<Arc<Opened>>, turn: usize) -> Vec<Arc<Opened>> {
    if matches!(candidates.as_slice(), [only] if only.spot == Spot::Main) {
        return candidates;
    }
    let known: Vec<policy::Candidate> = candidates.iter().filter_map(|one| one.candidate()).collect();
    let order = policy::order(&tenant.context().pictures.placement, &known, media, turn);
    order
        .into_iter()
        .filter_map(|place| candidates.get(place).cloned())
        .collect()
}

/// Writes a file. A storage that hangs is given less time here than its client would give it, since others may take the file.
async fn put(opened: &Opened, file: &NewFile) -> Result<Stored, ObjectError> {
    let put = opened.objects.put(&file.key, file.bytes.clone(), file.content_type);
    let bytes = u64::try_from(file.bytes.len()).unwrap_or(u64::MAX);
    let most = HANGS.saturating_add(Duration::from_secs(bytes / SLOWEST));
    let late = |_| ObjectError::Unavailable {
        subject: (&file.key).into(),
        operation: "write",
        source: format!("it took longer than {} s", most.as_secs()).into(),
    };
    // The installation's own store is never one of several.
    if opened.spot == Spot::Main {
        return put.await;
    }
    tokio::time::timeout(most, put).await.map_err(late)?
}

impl Opened {
    fn candidate(&self) -> Option<policy::Candidate> {
        self.row.as_ref().map(|row| policy::Candidate {
            id: row.id.clone(),
            weight: row.weight,
            free: row.free(),
        })
    }
}

impl Plan {
    fn placed(self) -> Option<PlacedFile> {
        let (_, stored) = self.done.first()?.clone();
        // In the order of the plan, not of who was the fastest: it is the order that they are read in.
        let held = self.order.iter().map(|one| &one.spot);
        let held = held.filter(|spot| self.done.iter().any(|(done, _)| done == *spot));
        Some(PlacedFile {
            stored,
            places: Places::of(held.cloned()),
        })
    }
}

/// Why those that do not hold a file do not.
fn told(plan: &Plan, problems: &BTreeMap<Spot, String>) -> String {
    let told = plan.order.iter().filter_map(|one| {
        let problem = problems.get(&one.spot)?;
        Some(format!("{}: {problem}", one.spot))
    });
    told.collect::<Vec<_>>().join("; ")
}
