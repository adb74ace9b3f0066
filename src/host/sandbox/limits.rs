//! Limits of a sealed sandbox: capabilities that package managers do not need are dropped, and system calls that would
//! change the machine are refused. The capabilities that stay are containerd's default list, with which packages are
//! installed in containers every day (capabilities(7)), without those for the network. With `CAP_MKNOD` packages can
//! create device files, but none can be opened, because every mount of the sandbox is `nodev`.

use super::Sandbox;
use anyhow::{Context, Result, anyhow};
use caps::{CapSet, Capability, CapsHashSet};
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::collections::BTreeMap;

/// The capabilities of a lookup: to act on files of any owner, and to become another user for downloads.
const LOOKUP: [Capability; 6] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_KILL,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
];

/// The further capabilities that package managers, package scripts and module builds need.
const INSTALL: [Capability; 6] = [
    Capability::CAP_AUDIT_WRITE,
    Capability::CAP_FSETID,
    Capability::CAP_MKNOD,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETPCAP,
    Capability::CAP_SYS_CHROOT,
];

/// The capabilities for setting a label that the kernel does not know, or any label where `SELinux` is off
/// (`cap_inode_setxattr`).
const LABELS: [Capability; 2] = [Capability::CAP_MAC_ADMIN, Capability::CAP_SYS_ADMIN];

/// The crate `libc` has no name for it on aarch64 with musl; the number is Linux's own (`asm-generic/unistd.h`).
#[cfg(target_arch = "aarch64")]
const KEXEC_FILE_LOAD: libc::c_long = 294;
#[cfg(not(target_arch = "aarch64"))]
const KEXEC_FILE_LOAD: libc::c_long = libc::SYS_kexec_file_load;

/// System calls that are refused whatever capabilities a program has: modules, kexec, keyrings, bpf, mounts, other
/// namespaces, files by handle, swap, the clock.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    KEXEC_FILE_LOAD,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
];

/// Drops, irrevocably, the capabilities that the program must not have. On a VM that installs for itself nothing is
/// dropped, because package scripts start services and load modules.
pub(super) fn give_up(sandbox: &Sandbox) -> Result<()> {
    if !sandbox.sealed {
        return Ok(());
    }
    let mut kept: CapsHashSet = LOOKUP.into();
    if !sandbox.is_lookup() {
        kept.extend(INSTALL);
    }
    if sandbox.labels {
        kept.extend(LABELS);
    }
    for capability in caps::runtime::thread_all_supported().difference(&kept) {
        caps::drop(None, CapSet::Bounding, *capability)
            .with_context(|| format!("cannot give up {capability}"))?;
    }
    let cannot = || "cannot give up the rights that a package manager does not need";
    let has = caps::read(None, CapSet::Permitted).with_context(cannot)?;
    kept.retain(|capability| has.contains(capability));
    caps::clear(None, CapSet::Inheritable).with_context(cannot)?;
    // The effective set first, because it must be a subset of the permitted one.
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).with_context(cannot)?;
    }
    // A filter of system calls needs `no_new_privs`. On `/` that would prevent the domain transitions with which the
    // policy of a running SELinux gives package scripts their rights, so there is no filter there.
    if sandbox.has_own_tree() {
        nix::sys::prctl::set_no_new_privs().context("cannot give up new privileges")?;
        seccompiler::apply_filter(&filter()?).map_err(|error| anyhow!("cannot filter calls: {error}"))?;
    }
    Ok(())
}

fn filter() -> Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into().map_err(|error| anyhow!("no filter: {error}"))?;
    let rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect::<BTreeMap<_, _>>();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch);
    let filter = filter.map_err(|error| anyhow!("no filter: {error}"))?;
    let mut program: BpfProgram = filter.try_into().map_err(|error| anyhow!("no filter: {error}"))?;
    // The generated filter first checks the architecture and kills programs of another one. Package scripts call 32-bit
    // programs (`iconvconfig.i686`), so those are allowed instead, with the same capabilities.
    if let [_, _, other_machine, ..] = program.as_mut_slice() {
        other_machine.k = libc::SECCOMP_RET_ALLOW;
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_another_kind_of_machine_are_let_through() {
        const RETURN: u16 = 0x06;
        let program = filter().unwrap();
        assert_eq!((program[2].code, program[2].k), (RETURN, libc::SECCOMP_RET_ALLOW));
        let refusals = program.iter().filter(|step| step.code == RETURN && step.k & 0xffff == 1);
        assert!(refusals.count() > 0, "nothing is refused");
    }

    #[test]
    fn no_right_to_change_the_kernel_is_kept() {
        for right in [
            Capability::CAP_SYS_MODULE,
            Capability::CAP_SYS_RAWIO,
            Capability::CAP_SYS_ADMIN,
            Capability::CAP_NET_ADMIN,
            Capability::CAP_SYS_BOOT,
            Capability::CAP_DAC_READ_SEARCH,
            Capability::CAP_SYS_PTRACE,
        ] {
            assert!(!LOOKUP.contains(&right) && !INSTALL.contains(&right), "{right}");
        }
    }
}
