//! Rows of the score that need no image: each function provokes what it is called after, and returns how the run ended.

use crate::common::deb::{Deb, Repository};
use crate::common::need::need_root;
use crate::common::program::{self, Ran};
use crate::common::small_root::SmallRoot;
use crate::score_rows::{of_an_unlisted_release, with_an_agent, with_sources_for_a_new_kernel};

/// The root's only package source.
fn give(root: &SmallRoot, debs: &[Deb]) -> Repository {
    let repository = Repository::of(debs);
    root.put("etc/apt/sources.list", &(repository.source_line() + "\n"));
    repository
}

fn cache_of(root: &SmallRoot) -> String {
    root.path().join("srv/cache").display().to_string()
}

/// Another program has the lock of dpkg, and what the VM agent lacks is to be installed.
pub(crate) fn a_lock_that_is_held() -> Ran {
    need_root();
    let root = with_an_agent();
    let _repository = give(&root, &[Deb { name: "net-tools", version: "1", ..Deb::default() }]);
    root.put("etc/ofedctl/config.yaml", "lock_timeout: 1\n");
    root.put("var/lib/dpkg/lock-frontend", "");
    root.run("stage", &["--arch", "x86_64", "--cache", &cache_of(&root)]).expect(0, "staged");
    let mut holder = program::hold_lock(root.path());
    let ran = root.run("bake", &["--arch", "x86_64", "--offline", "--cache", &cache_of(&root)]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(ran.stdout.contains(&format!("process {}", holder.id())), "{ran:?}");
    ran
}

/// DKMS has the driver's sources, and no source has the headers of the kernel that came since.
pub(crate) fn headers_that_are_gone() -> Ran {
    need_root();
    let root = with_sources_for_a_new_kernel();
    let tools = ["dkms", "gcc", "make"].map(|name| Deb { name, version: "9", ..Deb::default() });
    let _repository = give(&root, &tools);
    root.run("stage", &["--arch", "x86_64", "--cache", &cache_of(&root)])
}

/// The image is on a disk without room.
pub(crate) fn a_full_disk() -> Ran {
    need_root();
    let root = SmallRoot::ubuntu().with_vendor_driver();
    let script = "mount -t tmpfs -o size=256k tmpfs /mnt; cp -a \"$0/.\" /mnt; head -c 1m /dev/zero >/mnt/fill 2>/dev/null || true
        exec \"$1\" bake --json --arch x86_64 --root /mnt";
    let mut ran = program::in_namespaces(script);
    ran.arg(root.path()).arg(env!("CARGO_BIN_EXE_ofedctl"));
    program::finish(ran)
}

/// Nobody filled the cache.
pub(crate) fn an_empty_cache() -> Ran {
    need_root();
    let root = of_an_unlisted_release();
    root.run("bake", &["--arch", "x86_64", "--offline", "--cache", &cache_of(&root)])
}
