//! What goes with every driver: the modules it is proven by, and the edits around it.

use crate::edit::Edit;
use crate::settings::Settings;
use crate::target::Nic;

/// The adapter's own modules, and those that give programs verbs, management datagrams, the connection
/// manager and, when wanted, IP over InfiniBand.
pub(super) fn modules(nic: Option<Nic>, settings: &Settings) -> Vec<String> {
    let adapter = match nic.map_or("mlx5", Nic::kernel_driver) {
        "mlx4" => ["mlx4_core", "mlx4_ib"],
        _ => ["mlx5_core", "mlx5_ib"],
    };
    adapter.into_iter().chain(boot_modules(settings)).map(str::to_owned).collect()
}

/// What nothing loads by itself. The VM agent wants them before it starts (Azure/azhpc-images, Microsoft/lisa#3131).
fn boot_modules(settings: &Settings) -> Vec<&'static str> {
    let mut modules = vec!["ib_uverbs", "ib_umad", "rdma_ucm"];
    if settings.ipoib {
        modules.push("ib_ipoib");
    }
    modules
}

/// The edits around the packages.
pub(super) fn edits(settings: &Settings) -> Vec<Edit> {
    let lines = |words: Vec<&str>| words.join("\n") + "\n";
    let mut edits = vec![Edit::WriteFile {
        path: "/etc/modules-load.d/ofedctl.conf".to_owned(),
        content: lines(
            [
                vec!["# Made by ofedctl: InfiniBand modules that nothing loads by itself."],
                boot_modules(settings),
            ]
            .concat(),
        ),
        why: "load the InfiniBand modules at boot".to_owned(),
    }];
    if settings.memlock {
        edits.push(Edit::WriteFile {
            path: "/etc/security/limits.d/90-ofedctl.conf".to_owned(),
            content: lines(vec![
                "# Made by ofedctl: RDMA programs register memory, which locks it.",
                "* soft memlock unlimited",
                "* hard memlock unlimited",
                "root soft memlock unlimited",
                "root hard memlock unlimited",
            ]),
            why: "let RDMA programs lock memory".to_owned(),
        });
    }
    edits.push(Edit::SetKey {
        path: "/etc/waagent.conf".to_owned(),
        key: "OS.EnableRDMA".to_owned(),
        value: "y".to_owned(),
        why: "let the VM agent address the InfiniBand interfaces".to_owned(),
    });
    edits
}
