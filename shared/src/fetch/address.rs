//! Which addresses are of the public internet: everything in IANA's special-purpose registries (RFC 6890) is not.
//!
//! Where in doubt an address is refused. Of IPv6 only what is given out as global unicast passes; an IPv6 address that carries
//! an IPv4 address and is connected to as that, is judged as that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks that are not of the public internet, each with the bits that its addresses share.
const NOT_PUBLIC_V4: &[(Ipv4Addr, u32)] = &[
    // "This network"; Linux connects 0.0.0.0 to itself.
    (Ipv4Addr::UNSPECIFIED, 8),
    // Private use.
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Shared by carriers' customers; a cloud's metadata is at 100.100.100.200.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // Loopback.
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local; most clouds' metadata is at 169.254.169.254.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // Protocol assignments; another cloud's metadata is at 192.0.0.192.
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Relays of 6to4, given up.
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    // Benchmarks.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // A public address by which one cloud's hosts reach their platform.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    // Multicast, reserved, broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// What is given out of IPv6 as global unicast. Outside of it lie loopback, IPv4-compatible addresses, unique local ones
/// (`fc00::/7`, a cloud's metadata at `fd00:ec2::254` among them), link-local, site-local, multicast, and all that is reserved.
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What within [`GLOBAL_V6`] is not of the public internet.
const NOT_PUBLIC_V6: &[(Ipv6Addr, u32)] = &[
    // Protocol assignments: Teredo, benchmarks, ORCHID.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // 6to4: a tunnel to whatever IPv4 address it carries.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
];

/// Translated to the IPv4 address in its last 32 bits where there is NAT64 (RFC 6052).
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Interfaces of ISATAP tunnels carry an IPv4 address after these 32 bits, with or without the bit for a global one.
const ISATAP: [u32; 2] = [0x0000_5efe, 0x0200_5efe];

/// Whether an address is one of the public internet.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !NOT_PUBLIC_V4.iter().any(|(network, shared)| {
        let differs = address.to_bits() ^ network.to_bits();
        differs.leading_zeros() >= *shared
    })
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if within(address, NAT64) {
        return is_public_v4(embedded(address));
    }
    let tunnel = ISATAP.iter().any(|interface| {
        let upper = (address.to_bits() >> 32) & u128::from(u32::MAX);
        upper == u128::from(*interface)
    });
    within(address, GLOBAL_V6) && !tunnel && !NOT_PUBLIC_V6.iter().any(|network| within(address, *network))
}

fn within(address: Ipv6Addr, (network, shared): (Ipv6Addr, u32)) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= shared
}

/// The IPv4 address in the last 32 bits.
fn embedded(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn public(address: &str) -> bool {
        is_public(address.parse().unwrap())
    }

    /// The first and the last address of each network, and its public neighbours.
    #[test]
    fn networks_end_where_the_registries_say() {
        for (inside, outside) in [
            (["0.0.0.0", "0.255.255.255"], vec!["1.0.0.0"]),
            (["10.0.0.0", "10.255.255.255"], vec!["9.255.255.255", "11.0.0.0"]),
            (["100.64.0.0", "100.127.255.255"], vec!["100.63.255.255", "100.128.0.0"]),
            (["127.0.0.0", "127.255.255.255"], vec!["126.255.255.255", "128.0.0.0"]),
            (
                ["169.254.0.0", "169.254.255.255"],
                vec!["169.253.255.255", "169.255.0.0"],
            ),
            (["172.16.0.0", "172.31.255.255"], vec!["172.15.255.255", "172.32.0.0"]),
            (["192.0.0.0", "192.0.0.255"], vec!["191.255.255.255", "192.0.1.0"]),
            (["192.0.2.0", "192.0.2.255"], vec!["192.0.1.255", "192.0.3.0"]),
            (["192.88.99.0", "192.88.99.255"], vec!["192.88.98.255", "192.88.100.0"]),
            (
                ["192.168.0.0", "192.168.255.255"],
                vec!["192.167.255.255", "192.169.0.0"],
            ),
            (["198.18.0.0", "198.19.255.255"], vec!["198.17.255.255", "198.20.0.0"]),
            (
                ["198.51.100.0", "198.51.100.255"],
                vec!["198.51.99.255", "198.51.101.0"],
            ),
            (["203.0.113.0", "203.0.113.255"], vec!["203.0.112.255", "203.0.114.0"]),
            (
                ["168.63.129.16", "168.63.129.16"],
                vec!["168.63.129.15", "168.63.129.17"],
            ),
            (["224.0.0.0", "255.255.255.255"], vec!["223.255.255.255"]),
            (["::", "1fff:ffff::"], vec!["2000::"]),
            (["2001::", "2001:1ff:ffff::"], vec!["2000:ffff::", "2001:200::"]),
            (["2001:db8::", "2001:db8:ffff::1"], vec!["2001:db7::", "2001:db9::"]),
            (["2002::", "2002:ffff::1"], vec!["2003::"]),
            (["3fff::", "3fff:fff:ffff::"], vec!["3ffe:ffff::", "3fff:1000::"]),
            (["4000::", "ffff:ffff::"], vec!["3fff:ffff::"]),
        ] {
            for address in inside {
                assert!(!public(address), "{address} is not public");
            }
            for address in outside {
                assert!(public(address), "{address} is public");
            }
        }
    }

    #[test]
    fn what_reaches_this_machine_or_its_platform_is_not_public() {
        for address in [
            "::1",
            "::",
            "169.254.169.254",
            "fd00:ec2::254",
            "100.100.100.200",
            "192.0.0.192",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::7f00:1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::8.8.8.8",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001:0:7f00:1::",
            "2001:470:1::5efe:10.0.0.1",
            "2001:470:1::200:5efe:10.0.0.1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!public(address), "{address}");
        }
        for address in [
            "8.8.8.8",
            "1.1.1.1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2606:4700::1111",
            "2a00:1450:4001::200e",
        ] {
            assert!(public(address), "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_address_passes_that_the_standard_library_knows_to_be_special(bits in any::<u32>()) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_broadcast() || address.is_documentation() || address.is_multicast() || address.is_unspecified();
            prop_assert!(!(special && is_public(address.into())), "{address}");
        }

        #[test]
        fn an_embedded_address_is_as_public_as_it_is_alone(bits in any::<u32>()) {
            let alone = Ipv4Addr::from_bits(bits);
            let nat64 = Ipv6Addr::from_bits(NAT64.0.to_bits() | u128::from(bits));
            prop_assert_eq!(is_public(alone.into()), is_public(alone.to_ipv6_mapped().into()));
            prop_assert_eq!(is_public(alone.into()), is_public(nat64.into()));
            prop_assert!(!is_public(Ipv6Addr::from_bits(u128::from(bits)).into()), "compatible");
            let sixes = Ipv6Addr::from_bits((0x2002_u128 << 112) | (u128::from(bits) << 80) | 1);
            prop_assert!(!is_public(sixes.into()), "{sixes}");
        }

        #[test]
        fn of_ipv6_nothing_passes_but_global_unicast_and_nat64(bits in any::<u128>()) {
            let address = Ipv6Addr::from_bits(bits);
            let special = address.is_loopback() || address.is_multicast() || address.is_unique_local()
                || address.is_unicast_link_local() || address.is_unspecified();
            prop_assert!(!(special && is_public(address.into())), "{address}");
            let global = address.segments()[0] >> 13 == 1;
            prop_assert!(global || !is_public(address.into()), "{address}");
        }
    }
}
