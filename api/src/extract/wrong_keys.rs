//! How often an address sent a wrong key of late, so that nobody can try many.

use crate::recent::Recent;
use mediamill_shared::cache::Cache;
use std::net::{IpAddr, Ipv6Addr};

/// Wrong keys that an address may send in a minute.
const MOST: i64 = 10;

/// The counts. Cloning shares them.
#[derive(Clone)]
pub(crate) struct WrongKeys(Recent);

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
        Self(Recent::new(cache, MOST))
    }

    /// Whether an address has to wait.
    pub(crate) async fn too_many(&self, address: Option<IpAddr>) -> bool {
        self.0.too_many(&counted_as(address)).await
    }

    /// Counts a wrong key.
    pub(crate) async fn count(&self, address: Option<IpAddr>) {
        self.0.count(&counted_as(address)).await;
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
