//! The network interfaces that `ib_ipoib` makes of InfiniBand ports, as the kernel shows them.

use crate::host::Host;
use std::net::Ipv4Addr;

const CLASS: &str = "/sys/class/net";
/// The hardware type of an InfiniBand interface (`ARPHRD_INFINIBAND`, `linux/if_arp.h`).
const INFINIBAND: &str = "32";

/// A network interface of an InfiniBand port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The PCI function under it.
    pub pci_address: Option<String>,
    /// Its partition key, `0x8001`.
    pub pkey: Option<String>,
    /// Its IPv4 addresses. An interface that is switched off has none.
    pub addresses: Vec<Ipv4Addr>,
}

/// All interfaces of InfiniBand ports, by name.
pub fn infiniband(host: &Host) -> Vec<Interface> {
    let text = |path: &str| host.root.read_text(path).ok().flatten().unwrap_or_default();
    let (routes, trie) = (text("/proc/net/route"), text("/proc/net/fib_trie"));
    let is_infiniband =
        |name: &String| host.root.attribute(&format!("{CLASS}/{name}/type")).as_deref() == Some(INFINIBAND);
    let interface = |name: String| {
        let device = host.root.link_target(&format!("{CLASS}/{name}/device"));
        Interface {
            pci_address: device.and_then(|link| Some(link.file_name()?.to_str()?.to_owned())),
            pkey: host.root.attribute(&format!("{CLASS}/{name}/pkey")),
            addresses: addresses(&name, &routes, &trie),
            name,
        }
    };
    host.root.list(CLASS).into_iter().filter(is_infiniband).map(interface).collect()
}

/// The local addresses in the networks that are routed through an interface: an address brings such a route with it
/// (proc(5), `/proc/net/route`: network and mask in hexadecimal, in the byte order of the machine).
fn addresses(interface: &str, routes: &str, trie: &str) -> Vec<Ipv4Addr> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::from_be);
    let networks: Vec<(u32, u32)> = routes
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, network, _, _, _, _, _, mask, ..] = words[..] else { return None };
            let is_of_it = name == interface && mask != "00000000";
            is_of_it.then(|| Some((number(network)?, number(mask)?)))?
        })
        .collect();
    let is_in = |address: &Ipv4Addr| {
        networks.iter().any(|(network, mask)| u32::from(*address) & mask == network & mask)
    };
    let mut found: Vec<Ipv4Addr> = locals(trie).into_iter().filter(is_in).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The machine's own addresses in `/proc/net/fib_trie`: a line `|-- ADDRESS`, and below it `/32 host LOCAL`.
fn locals(trie: &str) -> Vec<Ipv4Addr> {
    let mut address: Option<Ipv4Addr> = None;
    let mut found = Vec::new();
    for line in trie.lines() {
        if let Some((_, text)) = line.split_once("|-- ") {
            address = text.trim().parse().ok();
        } else if line.contains("/32 host LOCAL") {
            found.extend(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;
    use proptest::prelude::*;

    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t0104000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
        eth0\t0004000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n\
        ib0\t000010AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
    const TRIE: &str = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.4.7\n        /32 host LOCAL\n     |-- 172.16.0.0\n        \
        /16 link UNICAST\n     |-- 172.16.1.4\n        /32 host LOCAL\n     |-- 172.16.255.255\n        \
        /32 link BROADCAST\n";

    #[test]
    fn an_interface_has_the_addresses_of_its_networks() {
        if cfg!(target_endian = "little") {
            assert_eq!(addresses("ib0", ROUTES, TRIE), [Ipv4Addr::new(172, 16, 1, 4)]);
            assert_eq!(addresses("eth0", ROUTES, TRIE), [Ipv4Addr::new(10, 0, 4, 7)]);
        }
        assert!(addresses("ib1", ROUTES, TRIE).is_empty());
    }

    #[test]
    fn only_infiniband_counts_whatever_its_name() {
        let (_dir, host) = host_with(&[
            ("sys/class/net/eth0/type", "1\n"),
            ("sys/class/net/storage/type", "32\n"),
            ("sys/class/net/storage/pkey", "0x8001\n"),
        ]);
        let found = infiniband(&host);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].pkey.as_deref()), ("storage", Some("0x8001")));
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(routes in "\\PC*", trie in "\\PC*") {
            let _ = addresses("ib0", &routes, &trie);
        }
    }
}
