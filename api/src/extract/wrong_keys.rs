//! How often an address sent a wrong key of late, so that nobody can try many.
//!
//! Counted by every process for itself, and in the cache for all of them together; without the cache the former has to do.

use mediamill_shared::cache::{Added, Cache, CachePort};
use moka::future::Cache as Memory;
use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// Wrong keys that an address may send in [`WINDOW`].
const MOST: i64 = 10;
/// How long they are counted, from the first on.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that a process counts for at a time.
const ADDRESSES: u64 = 10_000;

/// The counts. Cloning shares them.
#[derive(Clone)]
pub(crate) struct WrongKeys {
    cache: Cache,
    own: Memory<String, Arc<AtomicI64>>,
}

/// Whom an address is counted as: an IPv6 host has a whole /64 to itself.
fn counted_as(address: Option<IpAddr>) -> String {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(v6)) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("wrong-keys:{}", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        Some(IpAddr::V4(v4)) => format!("wrong-keys:{v4}"),
        None => "wrong-keys:none".to_owned(),
    }
}

impl WrongKeys {
    /// Nothing counted by this process yet.
    pub(crate) fn new(cache: Cache) -> Self {
        let own = Memory::builder().max_capacity(ADDRESSES).time_to_live(WINDOW).build();
        Self { cache, own }
    }

    /// Whether an address has to wait.
    pub(crate) async fn too_many(&self, address: Option<IpAddr>) -> bool {
        let name = counted_as(address);
        if let Some(count) = self.own.get(&name).await
            && count.load(Ordering::Relaxed) >= MOST
        {
            return true;
        }
        // An addition of nothing is a look.
        match self.cache.add_within(&name, 0, None).await {
            Ok(Added::Now(count) | Added::Over(count)) => count >= MOST,
            Ok(Added::Absent) | Err(_) => false,
        }
    }

    /// Counts a wrong key.
    pub(crate) async fn count(&self, address: Option<IpAddr>) {
        let name = counted_as(address);
        let own = self.own.get_with(name.clone(), async { Arc::default() }).await;
        own.fetch_add(1, Ordering::Relaxed);
        let added = self.cache.add_within(&name, 1, None).await;
        // Somebody else may seed at the same time: then one of two is not counted, which nobody gains by. A cache that is
        // away counts nothing: this process does.
        if matches!(added, Ok(Added::Absent)) {
            let _ = self.cache.seed(&name, 1, WINDOW).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_counted_as_one_whatever_address_it_takes() {
        let name = |text: &str| counted_as(Some(text.parse().unwrap()));
        assert_eq!(name("2001:db8:1:2::1"), name("2001:db8:1:2:ffff::9"));
        assert_ne!(name("2001:db8:1:2::1"), name("2001:db8:1:3::1"));
        assert_eq!(name("::ffff:192.0.2.1"), name("192.0.2.1"));
        assert_ne!(name("192.0.2.1"), name("192.0.2.2"));
    }
}
