//! A worker's processors: each takes one picture at a time, and where more pictures wait than there are processors, tenants take turns.
//!
//! Start-time fair queueing (Goyal, Vin, Chen, 1996): a picture's turn is the later of now and the end of its tenant's last turn, and the
//! smallest turn is next. So whoever has one picture is behind those that are being worked on, and not behind somebody's hundred.

use mediamill_shared::ids::TenantId;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// What a picture puts its tenant's next turn off by, at weight 1.
const COST: u64 = 1_000;

/// Tenants whose turns are kept although they are over.
const REMEMBERED: usize = 1_000;

/// Cloning shares them.
#[derive(Debug, Clone)]
pub struct Processors(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// By turn, and by arrival within one.
    waiting: BTreeMap<(u64, u64), oneshot::Sender<Processor>>,
    /// When each tenant's next turn can be at the earliest; those that are over may be left out.
    turns: HashMap<TenantId, u64>,
    /// The turn that was taken last.
    now: u64,
    arrivals: u64,
}

/// A processor that is taken. Dropped, the next one has it. `None`: it was passed on.
#[derive(Debug)]
pub struct Processor(Option<Arc<Mutex<State>>>);

impl Processors {
    /// As many as `count`, one at least.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: count.max(1),
            waiting: BTreeMap::new(),
            turns: HashMap::new(),
            now: 0,
            arrivals: 0,
        })))
    }

    /// Waits for one. A `tenant` of weight 2 has twice the turns of one of weight 1; without one it is next.
    pub async fn take(&self, tenant: Option<&TenantId>, weight: i64) -> Processor {
        let told = {
            let mut state = locked(&self.0);
            let turn = state.turn(tenant, weight);
            if state.free > 0 {
                state.free = state.free.saturating_sub(1);
                state.begin(turn);
                return Processor(Some(Arc::clone(&self.0)));
            }
            let (tell, told) = oneshot::channel();
            state.arrivals = state.arrivals.saturating_add(1);
            let arrival = state.arrivals;
            state.waiting.insert((turn, arrival), tell);
            told
        };
        // The sender is with the processors until it sends, and they are here.
        match told.await {
            Ok(processor) => processor,
            Err(_) => std::future::pending().await,
        }
    }
}

impl State {
    fn turn(&mut self, tenant: Option<&TenantId>, weight: i64) -> u64 {
        let Some(tenant) = tenant else { return self.now };
        let turn = self.turns.get(tenant).map_or(self.now, |next| self.now.max(*next));
        let cost = COST.checked_div(weight.max(1).unsigned_abs()).unwrap_or(0).max(1);
        self.turns.insert(tenant.clone(), turn.saturating_add(cost));
        turn
    }

    fn begin(&mut self, turn: u64) {
        self.now = self.now.max(turn);
        if self.turns.len() > REMEMBERED {
            let now = self.now;
            self.turns.retain(|_, next| *next > now);
        }
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        loop {
            let next = {
                let mut state = locked(&shared);
                let Some(((turn, _), next)) = state.waiting.pop_first() else {
                    state.free = state.free.saturating_add(1);
                    return;
                };
                state.begin(turn);
                next
            };
            let Err(mut unwanted) = next.send(Self(Some(Arc::clone(&shared)))) else {
                return;
            };
            // Whoever waited has gone: it is this one's to pass on.
            unwanted.0 = None;
        }
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, future::BoxFuture};

    fn tenant(id: &str) -> TenantId {
        id.parse().unwrap()
    }

    fn waits(processors: &Processors, id: &str, weight: i64) -> BoxFuture<'static, Processor> {
        let (own, tenant) = (processors.clone(), tenant(id));
        let mut waiting = async move { own.take(Some(&tenant), weight).await }.boxed();
        assert!((&mut waiting).now_or_never().is_none(), "there is none free");
        waiting
    }

    #[tokio::test]
    async fn whoever_has_one_picture_is_before_anothers_second() {
        let processors = Processors::new(1);
        let first = processors.take(Some(&tenant("bulk")), 1).await;
        let mut bulk = Vec::new();
        for _ in 0..3 {
            bulk.push(waits(&processors, "bulk", 1));
        }
        let mut quiet = waits(&processors, "quiet", 1);
        drop(first);
        let taken = (&mut quiet).now_or_never();
        assert!(taken.is_some(), "it is behind what is worked on, and nothing else");
        drop(taken);
        for waiting in &mut bulk {
            let taken = waiting.now_or_never();
            assert!(taken.is_some(), "the others in the order they came");
        }
    }

    #[tokio::test]
    async fn turns_are_by_weight() {
        let processors = Processors::new(1);
        let mut held = vec![processors.take(None, 1).await];
        let mut all = Vec::new();
        for _ in 0..12 {
            all.push(("light", waits(&processors, "light", 1)));
            all.push(("heavy", waits(&processors, "heavy", 3)));
        }
        let mut heavy = 0;
        for _ in 0..12 {
            held.clear();
            let mut got = None;
            for (place, (name, waiting)) in all.iter_mut().enumerate() {
                if let Some(processor) = waiting.now_or_never() {
                    got = Some((place, *name, processor));
                    break;
                }
            }
            let (place, name, processor) = got.unwrap();
            heavy += u32::from(name == "heavy");
            held.push(processor);
            drop(all.remove(place));
        }
        assert!((8..=10).contains(&heavy), "three of four: {heavy} of 12");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_keeps_nobody_from_it() {
        let processors = Processors::new(2);
        let (one, two) = (processors.take(None, 1).await, processors.take(None, 1).await);
        let gone = waits(&processors, "a", 1);
        let mut stays = waits(&processors, "b", 1);
        drop(gone);
        drop(one);
        assert!((&mut stays).now_or_never().is_some());
        drop(two);
        // Both are free again, and no more than these.
        let both = (processors.take(None, 1).await, processors.take(None, 1).await);
        let third = waits(&processors, "c", 1);
        drop(third);
        drop(both);
    }
}
