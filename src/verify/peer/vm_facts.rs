//! What one of two VMs knows of itself: its size, and its ports with their links, their partitions and whether each of
//! them carries traffic alone. Both tell it to each other, and each judges by both.

use crate::facts::rdma;
use crate::facts::{compute, vm_size};
use crate::host::Host;
use crate::outcome::Reason;
use crate::verify::traffic::Alone;
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Raised where two programs would no longer understand each other.
pub(super) const PROTOCOL: u32 = 1;
/// The bit of a partition key that makes a full member; the rest is the partition.
const FULL: u16 = 0x8000;
/// The partition that every port is in, and a VM that was given no other.
const DEFAULT: u16 = 0x7fff;

/// One of two VMs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VmFacts {
    protocol: u32,
    pub(super) vm_size: Option<String>,
    pub(super) ports: Vec<PortFacts>,
}

/// A port that faces one of the other VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PortFacts {
    pub(super) device: String,
    pub(super) number: u32,
    pub(super) is_infiniband: bool,
    pub(super) state: Option<String>,
    pub(super) phys_state: Option<String>,
    pub(super) gbps: Option<u32>,
    /// Partition keys, each with its index.
    pub(super) keys: Vec<(u32, u16)>,
    /// What came of traffic from the port to itself.
    pub(super) alone: bool,
    pub(super) alone_found: String,
    /// Microseconds of a message there and back, when alone.
    pub(super) alone_usec: Option<f64>,
}

/// A partition that both ports are in, with the index of its key at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) partition: u16,
    pub(super) indices: [u32; 2],
}

impl VmFacts {
    /// This VM, with what its ports did alone.
    pub(super) fn from_ports(host: &Host, alone: Vec<Alone>) -> Self {
        let ports = alone.into_iter().map(|alone| PortFacts::from_port(host, alone)).collect();
        Self { protocol: PROTOCOL, vm_size: compute::size_of(host, None).vm_size, ports }
    }

    /// Fails if the other program is of another time.
    pub(super) fn understood(self) -> Result<Self> {
        if self.protocol != PROTOCOL {
            let what = format!("the other ofedctl speaks version {}, this one {PROTOCOL}", self.protocol);
            return Err(Reason::Usage.error(format!("{what}: use the same release on both VMs")));
        }
        Ok(self)
    }

    /// The documented rate of an InfiniBand port of this size, in Gb/s.
    pub(super) fn documented_gbps(&self) -> Option<u32> {
        match vm_size::verdict(self.vm_size.as_deref()?) {
            vm_size::SizeVerdict::Rdma(size) => size.gbps,
            _ => None,
        }
    }

    /// The documented time of a byte on its way, in nanoseconds.
    pub(super) fn documented_ns(&self) -> Option<u32> {
        vm_size::latency_ns(self.vm_size.as_deref()?)
    }
}

impl PortFacts {
    fn from_port(host: &Host, alone: Alone) -> Self {
        let Alone { device, port, check, usec } = alone;
        Self {
            keys: rdma::partition_keys(host, &device, port.number),
            is_infiniband: port.is_infiniband(),
            number: port.number,
            state: port.state,
            phys_state: port.phys_state,
            gbps: port.gbps,
            alone: check.ok,
            alone_found: check.found,
            alone_usec: usec,
            device,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state.as_deref() == Some("ACTIVE") && self.phys_state.as_deref() == Some("LinkUp")
    }

    /// Whether it is a full member of a partition of its own, or of the default one where that is all there is.
    pub(super) fn is_member(&self) -> bool {
        self.keys.iter().any(|(_, key)| key & FULL != 0)
    }

    /// The best partition that both are in: two limited members do not reach each other, and the default one is only
    /// taken where there is no other.
    pub(super) fn shared_with(&self, other: &Self) -> Option<Shared> {
        let pairs = self.keys.iter().flat_map(|mine| other.keys.iter().map(move |theirs| (mine, theirs)));
        let common = pairs
            .filter(|((_, mine), (_, theirs))| mine & !FULL == theirs & !FULL && (mine | theirs) & FULL != 0);
        let best = common.max_by_key(|((_, mine), (_, theirs))| {
            (mine & theirs & FULL, mine & !FULL != DEFAULT, std::cmp::Reverse(mine & !FULL))
        })?;
        let ((mine, key), (theirs, _)) = best;
        Some(Shared { partition: key & !FULL, indices: [*mine, *theirs] })
    }
}
