//! A driver that is in place and right stays, until somebody asks for another by name.

use super::scene::Scene;
use crate::common::program;
use crate::common::vendor;
use crate::common::vendor::mlnx_ofed::{self, MlnxOfed};
use crate::common::vendor::shop::Shop;

fn planned(scene: &Scene, more: &[&str]) -> String {
    let ran = program::run(&scene.arguments("plan", more));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout
}

#[test]
fn a_newer_release_does_not_take_the_place_of_one_that_is_right_unless_it_is_named() {
    let old = Shop::of(|folder| drop(mlnx_ofed::tgz(folder, &MlnxOfed::default())));
    let new = Shop::of(|folder| {
        mlnx_ofed::tgz(folder, &MlnxOfed { version: "24.01-0.3.3.1", ..MlnxOfed::default() });
    });
    let scene = Scene::new(&old, vendor::building_root_as("ubuntu22.04"));
    let less = ["--set", "mlnx_ofed_profile=kernel-only"];
    scene.stage(&less).expect(0, "staged");
    scene.bake(&less).expect(0, "installed");

    let later = scene.with_catalog_of(&new);
    later.bake(&less).expect(0, "already-installed");
    let text = planned(&later, &less);
    assert!(text.contains("mlnx_ofed 5.8-2.0.3.0 is here and as its receipt says, so it stays"), "{text}");
    assert!(text.contains("mlnx_ofed 24.01-0.3.3.1 would be chosen today"), "{text}");
    let named = [&less[..], &["--driver", "mlnx_ofed", "--set", "driver_version=24.01-0.3.3.1"]].concat();
    assert!(planned(&later, &named).contains("24.01-0.3.3.1"));
    later.stage(&named).expect(0, "staged");
    later.bake(&named).expect(0, "installed");
    // It is right now, too, and the older one is not missed.
    later.bake(&less).expect(0, "already-installed");
}
