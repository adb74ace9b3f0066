//! What commands cost, counted: the part of the budgets in `docs/performance.md` that is the same on every machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::counts::counted;
use common::registry::Registry;
use common::{bundles, image, program, scratch};
use std::path::Path;
use std::process::Command;

/// The memory that a command may use for itself, threads' stacks included.
const MEMORY: u64 = 32 << 20;

#[test]
fn a_bake_that_has_nothing_to_do_starts_nothing_and_opens_few_files() {
    let cache = image::staged("bookworm");
    let root = common::root::debian_root("bookworm");
    image::bake(&root, &cache).expect(0, "installed");
    let args = image::bake_args(&root, &cache);
    program::run(&args).expect(0, "already-installed");
    let (ran, counts) = counted(&args);
    ran.expect(0, "already-installed");
    assert_eq!((counts.children, counts.connections), (0, 0), "{counts:?}");
    // The dynamic linker opens five for the build that is tested, and none for the one that is shipped.
    assert!(counts.opened <= 60 + 5, "{counts:#?}");
    // The status document and the run's record, each with its folder.
    assert_eq!(counts.syncs, 4, "{counts:?}");
    within_memory(&args).expect(0, "already-installed");
}

#[test]
fn a_bundle_comes_from_a_plain_registry_with_few_files_and_syncs() {
    let folder = scratch();
    let cache = bundles::of_small_files(folder.path(), 18);
    let registry = Registry::open();
    let place = registry.place("ib:v1");
    let at = |cache: &Path, words: &[&str]| {
        let mut args: Vec<String> = ["cache", words[0], "--json"].map(str::to_owned).to_vec();
        args.extend(words[1..].iter().map(|word| (*word).to_owned()));
        args.extend(["--cache".to_owned(), cache.display().to_string()]);
        args
    };
    let (pushed, push) = counted(&at(&cache, &["push", &place]));
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert_eq!((push.children, push.syncs), (0, 0), "{push:?}");
    let copy = folder.path().join("copy");
    let (pulled, pull) = counted(&at(&copy, &["pull", &place]));
    assert_eq!(pulled.code, 0, "{pulled:?}");
    assert_eq!(pulled.json()["pulled"]["new_blobs"], 19, "{pulled:?}");
    assert_eq!(pull.children, 0, "{pull:?}");
    // Twenty blobs, each opened once to be written, and what the resolver and the cache's own documents need.
    assert!(pull.opened <= 90, "{pull:#?}");
    let certificates = pull.paths.iter().filter(|path| path.contains("certs")).count();
    assert_eq!(certificates, 0, "no certificate is needed to talk to a registry without TLS: {pull:#?}");
    assert!(pull.syncs <= 10, "the payload is synced together: {pull:#?}");
    // What is there already is neither written nor synced again.
    let (again, pull) = counted(&at(&copy, &["pull", &place]));
    assert_eq!((again.code, pull.syncs), (0, 0), "{again:?} {pull:#?}");
}

#[test]
fn memory_does_not_grow_with_a_bundle() {
    let folder = scratch();
    let registry = Registry::open();
    let cache = bundles::cache_of(folder.path(), &[("large.deb", 300 << 20)]);
    let archive = folder.path().join("bundle.tar").display().to_string();
    let place = registry.place("large:v1");
    let copies = ["pulled", "imported"].map(|name| folder.path().join(name));
    let steps: [(&Path, Vec<&str>); 5] = [
        (&cache, vec!["verify"]),
        (&cache, vec!["push", &place]),
        (&cache, vec!["export", "--out", &archive]),
        (&copies[0], vec!["pull", &place]),
        (&copies[1], vec!["import", &archive]),
    ];
    for (cache, words) in steps {
        let mut args = vec!["cache", words[0], "--cache", cache.to_str().unwrap()];
        args.extend(&words[1..]);
        let ran = within_memory(&args);
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
    }
}

/// Runs the program where no more memory can be had than the budget.
fn within_memory<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> program::Ran {
    let run = program::program(args);
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--data={MEMORY}")).arg(run.get_program()).args(run.get_args()).env_clear();
    limited.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    program::finish(limited)
}
