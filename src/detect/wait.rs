//! Waits for an adapter that appears late. The host offers a virtual function on the VMBus after boot, and again after
//! the platform has moved or serviced the machine, so a missing function may still appear.

use crate::facts::vm_size::{SizeVerdict, verdict};
use crate::facts::{Facts, pci};
use crate::host::Host;
use crate::settings::Settings;
use anyhow::Result;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(250);
/// How long to wait when no fact promises an adapter and the kernel has accepted every device that it was offered.
const WITHOUT_PROMISE: Duration = Duration::from_secs(20);

/// Waits for an InfiniBand function and reads the facts again once one has appeared; returns the same facts when none
/// appears or none is expected.
pub(super) fn for_device(host: &Host, mut facts: Facts, settings: &Settings) -> Result<Facts> {
    let promised = match size(&facts, settings) {
        _ if settings.nic.is_some() => true,
        Some(SizeVerdict::Rdma(_)) => true,
        Some(SizeVerdict::LegacyNd { .. } | SizeVerdict::NotRdma) => return Ok(facts),
        None => false,
    };
    let is_possible = facts.vmbus.as_ref().is_some_and(|bus| !bus.network_direct);
    let limit = Duration::from_secs(settings.wait_for_device);
    if !is_possible || limit.is_zero() || has_device(host) {
        return Ok(facts);
    }
    host.events.info(format!("no InfiniBand function yet; waiting up to {} s for one", limit.as_secs()));
    let begin = Instant::now();
    while begin.elapsed() < limit {
        host.cancel.check()?;
        if has_device(host) {
            host.events.info(format!("it came after {} s", begin.elapsed().as_secs()));
            let compute = std::mem::take(&mut facts.compute);
            facts = super::detect(host)?;
            facts.compute = compute;
            return Ok(facts);
        }
        if !promised && begin.elapsed() >= WITHOUT_PROMISE && is_settled(host) {
            break;
        }
        std::thread::sleep(POLL.min(limit.saturating_sub(begin.elapsed())));
    }
    host.events.info(format!("none came within {} s", begin.elapsed().as_secs()));
    Ok(facts)
}

fn size(facts: &Facts, settings: &Settings) -> Option<SizeVerdict> {
    settings.vm_size.as_deref().or(facts.compute.vm_size.as_deref()).map(verdict)
}

fn has_device(host: &Host) -> bool {
    pci::infiniband(&pci::read(host)).next().is_some()
}

/// Whether the kernel has accepted every function that the host has offered.
fn is_settled(host: &Host) -> bool {
    crate::facts::vmbus::read(host).is_none_or(|bus| bus.pci_bound >= bus.pci_passthrough)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::detect;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;
    use crate::outcome::Reason;

    const CLASS: &str = "/sys/bus/vmbus/devices/one/class_id";

    fn host(cancel: Cancel) -> (tempfile::TempDir, Host) {
        let (dir, host) = on_an_empty_root(cancel);
        host.root.write_text(CLASS, "{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}\n").unwrap();
        (dir, host)
    }

    fn settings(vm_size: &str, seconds: u64) -> Settings {
        Settings { vm_size: Some(vm_size.to_owned()), wait_for_device: seconds, ..Settings::default() }
    }

    fn plug(dir: &std::path::Path) {
        let folder = dir.join("sys/bus/pci/devices/0101:00:00.0");
        std::fs::create_dir_all(&folder).unwrap();
        for (name, value) in [("vendor", "0x15b3"), ("device", "0x101e"), ("class", "0x020700")] {
            std::fs::write(folder.join(name), value).unwrap();
        }
    }

    #[test]
    fn a_late_function_is_waited_for() {
        let (dir, host) = host(Cancel::never());
        let path = dir.path().to_owned();
        let hand = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            plug(&path);
        });
        let before = detect(&host).unwrap();
        let after = for_device(&host, before, &settings("Standard_HB120rs_v3", 60)).unwrap();
        hand.join().unwrap();
        assert_eq!(pci::infiniband(&after.functions).count(), 1);
    }

    #[test]
    fn what_cannot_come_is_not_waited_for() {
        let begin = Instant::now();
        let waits = |host: &Host, settings: Settings| {
            let facts = detect(host).unwrap();
            assert_eq!(for_device(host, facts.clone(), &settings).unwrap(), facts);
        };
        let (dir, host) = host(Cancel::never());
        waits(&host, settings("Standard_D4s_v5", 600));
        waits(&host, settings("Standard_H16r", 600));
        waits(&host, settings("Standard_HB120rs_v3", 0));
        host.root.write_text("/dev/hvnd_rdma", "").unwrap();
        waits(&host, settings("Standard_NC24rs_v2", 600));
        host.root.remove_file("/dev/hvnd_rdma").unwrap();
        plug(dir.path());
        waits(&host, settings("Standard_HB120rs_v3", 600));
        host.root.remove_all("/sys").unwrap();
        waits(&host, settings("Standard_HB120rs_v3", 600));
        assert!(begin.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn waiting_ends_with_the_time_given_or_with_the_run() {
        let (_dir, host) = host(Cancel::never().within(Duration::from_millis(600)));
        let facts = detect(&host).unwrap();
        let error = for_device(&host, facts, &settings("Standard_HB120rs_v3", 600)).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::DeadlineExceeded);
        let (_dir, host) = self::host(Cancel::never());
        let facts = detect(&host).unwrap();
        assert_eq!(for_device(&host, facts.clone(), &settings("Standard_HB120rs_v3", 1)).unwrap(), facts);
    }
}
