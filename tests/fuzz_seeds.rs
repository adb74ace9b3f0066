//! The fuzz targets as ordinary tests: real inputs, what fuzzing once found, and damaged forms of both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../fuzz/targets.rs"]
#[allow(dead_code, unreachable_pub)]
mod targets;

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The inputs that are kept for a target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = folder("corpus").join(target);
    names(&folder).iter().map(|name| std::fs::read(folder.join(name)).unwrap()).collect()
}

#[test]
fn every_target_has_its_binary_and_inputs() {
    let all: BTreeSet<String> = targets::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    let binaries = names(&folder("fuzz_targets"));
    assert_eq!(binaries, all.iter().map(|name| format!("{name}.rs")).collect());
    assert_eq!(names(&folder("corpus")), all);
    assert!(all.iter().all(|name| !seeds(name).is_empty()));
}

#[test]
fn no_kept_input_whole_or_cut_makes_a_parser_panic() {
    for (name, run) in targets::ALL {
        for seed in seeds(name) {
            let pieces = (0..seed.len()).step_by((seed.len() / 50).max(1));
            pieces.for_each(|end| run(&seed[..end]));
            run(&seed);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_a_kept_input_makes_a_parser_panic(places: Vec<(prop::sample::Index, u8)>, which: prop::sample::Index) {
        for (name, run) in targets::ALL {
            let mut input = which.get(&seeds(name)).clone();
            for (place, byte) in &places {
                if !input.is_empty() {
                    let place = place.index(input.len());
                    input[place] = *byte;
                }
            }
            run(&input);
        }
    }
}
