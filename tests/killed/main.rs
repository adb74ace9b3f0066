//! Whatever is killed, wherever it is killed, and through whichever door the next run comes: the root is then file for
//! file that of a run which nobody disturbed.
//!
//! `OFEDCTL_TORTURE=1000` says how many instants are tried in all; `make torture` does, with the program to ship.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The figures of a sweep are what it is run for.
#![allow(clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;

mod instants;
mod scenes;

use scenes::{Door, Scene};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// How many instants are tried of each command where nobody says: a hundred in all.
const FEW: usize = 25;
/// How many scenes there are where somebody says how many instants are to be tried.
const SCENES: usize = 8;

/// How many instants are to be tried in all.
fn wanted() -> Option<usize> {
    std::env::var("OFEDCTL_TORTURE").ok()?.parse().ok()
}

fn play(scene: &Scene) {
    let each = wanted().map_or(FEW, |wanted| wanted.div_ceil(SCENES));
    let began = Instant::now();
    let (mut at_work, mut differ) = (0, Vec::new());
    for nth in 0..each {
        // A sweep of hours goes on after an instant that differs, and tells of all of them.
        match catch_unwind(AssertUnwindSafe(|| scene.kill_at(nth, each))) {
            Ok(was_killed) => at_work += usize::from(was_killed),
            Err(_) => differ.push(nth),
        }
    }
    let equal = each - differ.len();
    let took = began.elapsed();
    println!("{}: {each} instants, {at_work} of them before its end, {equal} equal, {took:?}", scene.name);
    assert!(differ.is_empty(), "{}: these of {each} instants differ: {differ:?}", scene.name);
    // The number of events differs a little from run to run.
    assert!(at_work * 10 >= each * 8, "{}: only {at_work} of {each} were killed", scene.name);
}

#[test]
fn a_bake_killed_at_any_moment_is_finished_from_outside_or_inside_as_if_it_had_not_been() {
    play(&Scene::of_installing("bake", &[Door::Bake], &[Door::Bake, Door::BakeInside]));
    if wanted().is_some() {
        play(&Scene::of_installing("a bake after a killed one", &[Door::Bake, Door::Bake], &[Door::Bake]));
    }
}

#[test]
fn an_installation_killed_at_any_moment_is_finished_through_any_door_as_if_it_had_not_been() {
    play(&Scene::of_installing("install", &[Door::Install], &[Door::Install, Door::CloudInit]));
    if wanted().is_some() {
        play(&Scene::of_installing("cloud-init", &[Door::CloudInit], &[Door::CloudInit, Door::Install]));
    }
}

#[test]
fn an_undo_killed_at_any_moment_is_finished_as_if_it_had_not_been() {
    let doors = [Door::Uninstall, Door::UninstallInside];
    play(&Scene::of_removing("uninstall", Door::Bake, &[Door::Uninstall], &doors));
    if wanted().is_some() {
        let twice = [Door::Uninstall, Door::Uninstall];
        play(&Scene::of_removing("an uninstall after a killed one", Door::Bake, &twice, &[Door::Uninstall]));
        play(&Scene::of_removing("uninstall of a VM", Door::Install, &[Door::UninstallInside], &doors));
    }
}

#[test]
fn a_staging_killed_at_any_moment_goes_on_and_leaves_the_same_cache() {
    play(&Scene::of_staging());
}
