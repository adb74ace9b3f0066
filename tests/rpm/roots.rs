//! Debian roots with dnf, rpm and zypper, which say that they are another distribution.

use crate::common::need::need;
use crate::common::root::{Root, layers, root_of};
use crate::packages::Rpm;
use std::os::unix::fs::symlink;

/// What runs inside the roots.
const PACKAGES: &str = "dnf,rpm,zypper,kmod,policycoreutils,attr";
/// The same with what modules are built with.
const BUILDING: &str =
    "dnf,rpm,zypper,kmod,dkms,gcc,make,perl,patch,lsof,pciutils,procps,linux-headers-cloud-amd64";
/// Where the database is in another format.
const NDB_PACKAGES: &str = "rpm,zypper,kmod";
/// What runs on this machine.
const HERE: [&str; 3] = ["dnf", "rpm", "createrepo-c"];
/// The modules a kernel has that can drive InfiniBand.
const MODULES: &str = "kernel/drivers/net/ethernet/mellanox/mlx5/core/mlx5_core.ko.xz:\n\
    kernel/drivers/infiniband/hw/mlx5/mlx5_ib.ko.xz:\nkernel/drivers/infiniband/core/ib_uverbs.ko.xz:\n\
    kernel/drivers/infiniband/core/ib_umad.ko.xz:\nkernel/drivers/infiniband/core/rdma_ucm.ko.xz:\n\
    kernel/drivers/infiniband/ulp/ipoib/ib_ipoib.ko.xz:\n";

/// A distribution to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) id: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kernel: &'static str,
}

pub(crate) const ALMA8: Identity =
    Identity { id: "almalinux", version: "8.10", kernel: "4.18.0-553.16.1.el8_10.x86_64" };
pub(crate) const CENTOS7: Identity =
    Identity { id: "centos", version: "7", kernel: "3.10.0-1160.119.1.el7.x86_64" };
pub(crate) const AZURE3: Identity = Identity { id: "azurelinux", version: "3.0", kernel: "6.6.57.1-7.azl3" };
pub(crate) const MARINER2: Identity = Identity { id: "mariner", version: "2.0", kernel: "5.15.162.2-1.cm2" };
pub(crate) const SLES15: Identity =
    Identity { id: "sles", version: "15.4", kernel: "5.14.21-150400.14.31-azure" };

impl Identity {
    /// A fresh root of it, whose rpm database knows one package: the release.
    pub(crate) fn root(self) -> Root {
        self.be(root_of(&layers("rpm", "bookworm", PACKAGES)))
    }

    /// The same with a newer rpm, whose database is in rpm's own format, ndb, as that of SLES 15 is. Of Debian 12's rpm none
    /// can read or write it.
    pub(crate) fn root_with_ndb(self) -> Root {
        let root = root_of(&layers("rpm+ndb", "trixie", NDB_PACKAGES));
        root.write("etc/rpm/macros", "%_db_backend ndb\n");
        self.be(root)
    }

    /// The same, in which kernel modules can be built: with Debian's headers under the name of this kernel.
    pub(crate) fn building_root(self) -> Root {
        self.with_headers(root_of(&layers("rpm+kernels", "bookworm", BUILDING)))
    }

    /// The same with dracut.
    pub(crate) fn dracut_root(self) -> Root {
        let packages = format!("{BUILDING},dracut,binutils");
        self.with_headers(root_of(&layers("rpm+dracut", "bookworm", &packages)))
    }

    fn with_headers(self, root: Root) -> Root {
        let theirs = crate::common::vendor::kernels(&root).remove(0);
        let sources = format!("usr/src/linux-headers-{theirs}");
        for file in ["include/generated/utsrelease.h", ".kernelvariables"] {
            let path = format!("{sources}/{file}");
            let text = root.read(&path).replace(&theirs, self.kernel);
            assert!(text.contains(self.kernel), "{path}");
            root.write(&path, &text);
        }
        let folder = root.path().join("usr/lib/modules");
        // Not renamed: a layer cannot rename a folder of the layer below.
        std::fs::create_dir(folder.join(self.kernel)).unwrap();
        symlink(format!("/{sources}"), folder.join(self.kernel).join("build")).unwrap();
        std::fs::remove_dir_all(folder.join(&theirs)).unwrap();
        root.write(&format!("usr/lib/modules/{}/modules.builtin", self.kernel), "");
        self.be(root)
    }

    fn be(self, root: Root) -> Root {
        need(&HERE);
        let release =
            format!("ID=\"{}\"\nVERSION_ID=\"{}\"\nPRETTY_NAME=\"made by a test\"\n", self.id, self.version);
        // A link to `usr/lib` in Debian; each distribution has its own.
        std::fs::remove_file(root.path().join("etc/os-release")).unwrap();
        root.write("etc/os-release", &release);
        // Debian's rpm keeps a database in the user's home, for it is not Debian's.
        let macros = root.read("etc/rpm/macros");
        root.write("etc/rpm/macros", &format!("%_dbpath /var/lib/rpm\n{macros}"));
        root.write(&format!("usr/lib/modules/{}/modules.dep", self.kernel), MODULES);
        for name in ["yum", "tdnf"] {
            symlink("dnf", root.path().join("usr/bin").join(name)).unwrap();
        }
        let folder = root.beside("release");
        std::fs::create_dir(&folder).unwrap();
        let head = "Provides: /bin/sh";
        let release = Rpm { head, ..Rpm::plain("test-release", "8", "") }.build(&folder);
        std::fs::copy(release, root.path().join("var/release.rpm")).unwrap();
        let installed = root.inside(&["rpm", "--install", "--nodeps", "/var/release.rpm"]);
        assert!(installed.status.success(), "{installed:?}");
        std::fs::remove_file(root.path().join("var/release.rpm")).unwrap();
        if self.id == AZURE3.id {
            crate::tdnf_program::put(&root);
        }
        root
    }
}
