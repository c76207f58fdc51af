//! The cache in this process: maps under a lock, with the injected clock.

use super::{Added, CacheError, CachePort, Fence, Signal, Versioned};
use crate::{clock::Clock, units::Millis};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::broadcast;

/// Entries kept at most; the expired go first, then whatever comes first: every entry can be made again.
const MOST: usize = 200_000;
/// Signals that a slow listener may lag behind.
const SIGNALS: usize = 4_096;

/// A cache that ends with the process. Cloning shares it.
#[derive(Clone, Debug)]
pub struct MemoryCache {
    clock: Clock,
    state: Arc<Mutex<State>>,
    signals: broadcast::Sender<Signal>,
}

#[derive(Debug, Default)]
struct State {
    values: HashMap<String, Timed<Versioned>>,
    counters: HashMap<String, Timed<i64>>,
    leases: HashMap<String, Lease>,
}

#[derive(Debug)]
struct Timed<T> {
    value: T,
    until: Millis,
}

#[derive(Debug)]
struct Lease {
    owner: Option<String>,
    until: Millis,
    fence: i64,
}

/// Makes room for one more entry.
fn bound<T>(map: &mut HashMap<String, Timed<T>>, now: Millis) {
    if map.len() < MOST {
        return;
    }
    map.retain(|_, entry| entry.until > now);
    if map.len() >= MOST
        && let Some(key) = map.keys().next().cloned()
    {
        map.remove(&key);
    }
}

impl MemoryCache {
    /// An empty cache.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: Arc::default(),
            signals: broadcast::channel(SIGNALS).0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachePort for MemoryCache {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, CacheError> {
        let now = self.clock.now();
        Ok(self
            .state()
            .values
            .get(key)
            .filter(|entry| entry.until > now)
            .map(|entry| entry.value.clone()))
    }

    async fn put(&self, key: &str, value: &Versioned, ttl: Duration) -> Result<bool, CacheError> {
        let now = self.clock.now();
        let mut state = self.state();
        let newer = state
            .values
            .get(key)
            .is_none_or(|entry| entry.until <= now || entry.value.version < value.version);
        if newer {
            bound(&mut state.values, now);
            state.values.insert(
                key.to_owned(),
                Timed {
                    value: value.clone(),
                    until: now.after(ttl),
                },
            );
        }
        Ok(newer)
    }

    async fn remove(&self, key: &str) -> Result<(), CacheError> {
        let mut state = self.state();
        state.values.remove(key);
        state.counters.remove(key);
        Ok(())
    }

    async fn add_within(&self, key: &str, delta: i64, ceiling: Option<i64>) -> Result<Added, CacheError> {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(counter) = state.counters.get_mut(key).filter(|entry| entry.until > now) else {
            return Ok(Added::Absent);
        };
        let sum = counter.value.saturating_add(delta).max(0);
        if delta > 0 && ceiling.is_some_and(|ceiling| sum > ceiling) {
            return Ok(Added::Over(counter.value));
        }
        counter.value = sum;
        Ok(Added::Now(sum))
    }

    async fn seed(&self, key: &str, value: i64, ttl: Duration) -> Result<bool, CacheError> {
        let now = self.clock.now();
        let mut state = self.state();
        let absent = state.counters.get(key).is_none_or(|entry| entry.until <= now);
        if absent {
            bound(&mut state.counters, now);
            state.counters.insert(
                key.to_owned(),
                Timed {
                    value: value.max(0),
                    until: now.after(ttl),
                },
            );
        }
        Ok(absent)
    }

    async fn acquire(&self, name: &str, owner: &str, ttl: Duration) -> Result<Option<Fence>, CacheError> {
        let now = self.clock.now();
        let mut state = self.state();
        let lease = state.leases.entry(name.to_owned()).or_insert(Lease {
            owner: None,
            until: now,
            fence: 0,
        });
        match &lease.owner {
            Some(holder) if lease.until > now && holder != owner => return Ok(None),
            Some(holder) if lease.until > now && holder == owner => {}
            Some(_) | None => {
                lease.fence = lease.fence.saturating_add(1).max(now.get());
                lease.owner = Some(owner.to_owned());
            }
        }
        lease.until = now.after(ttl);
        Ok(Some(Fence(lease.fence)))
    }

    async fn release(&self, name: &str, owner: &str) -> Result<(), CacheError> {
        if let Some(lease) = self.state().leases.get_mut(name)
            && lease.owner.as_deref() == Some(owner)
        {
            lease.owner = None;
        }
        Ok(())
    }

    async fn signal(&self, channel: &'static str, messages: &[String]) -> Result<(), CacheError> {
        for message in messages {
            // An error says that nobody listens.
            let _ = self.signals.send(Signal {
                channel,
                message: message.clone(),
            });
        }
        Ok(())
    }

    fn listen(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    async fn ping(&self) -> Result<(), CacheError> {
        Ok(())
    }
}
