//! The house rules, as tests: who may import whom, how long a file may grow, what the documents must say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const HOUSE: &str = env!("CARGO_MANIFEST_DIR");
const LONGEST_FILE: usize = 400;

/// Every file of the house below a folder, but not what builds and version control put there.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_symlink() || name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Path below `src` and text of each source file, but not of unit tests in files of their own.
fn sources() -> BTreeMap<String, String> {
    let src = Path::new(HOUSE).join("src");
    let is_code =
        |path: &PathBuf| path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs");
    let rust = files_below(&src).into_iter().filter(is_code);
    let named = |path: PathBuf| {
        (path.strip_prefix(&src).unwrap().display().to_string(), fs::read_to_string(&path).unwrap())
    };
    rust.map(named).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(HOUSE).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The code before the unit tests, which by custom stand last.
fn code(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap()
}

/// The code without comments.
fn bare(text: &str) -> String {
    let uncommented = |line: &&str| !line.trim_start().starts_with("//");
    code(text).lines().filter(uncommented).collect::<Vec<_>>().join("\n")
}

/// The module of the first level a file belongs to: `host` for `host/fs.rs`.
fn module(path: &str) -> &str {
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

/// Floor of each module, read from the table in `lib.rs`.
fn floors() -> BTreeMap<String, u32> {
    let mut floors = BTreeMap::new();
    for line in read("src/lib.rs").lines() {
        let row = line.strip_prefix("//! ").and_then(|row| row.split_once("  "));
        let Some((floor, names)) = row.and_then(|(floor, rest)| Some((floor.parse().ok()?, rest))) else {
            continue;
        };
        let names = names.trim_start().split("  ").next().unwrap();
        floors.extend(names.split_whitespace().map(|name| (name.to_owned(), floor)));
    }
    assert!(floors.len() > 5, "src/lib.rs has no table of floors: {floors:?}");
    floors
}

/// The modules named after each `root` (`crate::`, `ofedctl::`) in a text: `a` and `b` of `crate::{a::x, b}`.
fn imports(text: &str, root: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices(root) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[at + root.len()..];
        match rest.strip_prefix('{') {
            None => names.push(first_word(rest)),
            Some(group) => names.extend(members(group).map(first_word)),
        }
    }
    names
}

/// The members of a brace group up to its end, not those of groups within.
fn members(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let mut end = group.len();
    let mut commas = vec![0];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                end = at;
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => commas.push(at + 1),
            _ => {}
        }
    }
    commas.into_iter().map(move |from| group[from..end].trim_start()).filter(|member| !member.is_empty())
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn a_file_imports_only_from_floors_below_its_own() {
    let floors = floors();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let own = module(&path);
        if own == "lib" {
            continue;
        }
        let Some(floor) = floors.get(own) else {
            wrong.push(format!("{path}: `{own}` has no floor; give it one in the table of src/lib.rs"));
            continue;
        };
        let text = bare(&text);
        // A way around the names looked for here.
        let to_the_top = "super::".repeat(path.trim_end_matches("/mod.rs").split('/').count());
        if text.contains(&to_the_top) {
            wrong.push(format!("{path}: says `{to_the_top}` where it means `crate::`"));
        }
        for name in imports(&text, "crate::").into_iter().chain(imports(&text, "ofedctl::")) {
            match floors.get(&name) {
                None => wrong.push(format!("{path}: `{name}` has no floor")),
                // Parts of one module, and plain data among itself, may know each other.
                Some(_) if name == own => {}
                Some(0) if *floor == 0 => {}
                Some(below) if below < floor => {}
                Some(above) => wrong.push(format!("{path} (floor {floor}) imports `{name}` (floor {above})")),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::a::B;\nuse crate::{b::{c, d}, e::f,\n  g};\nfn x(y: &crate::h::I) {} mycrate::z";
    assert_eq!(imports(text, "crate::"), ["a", "b", "e", "g", "h"]);
    assert_eq!(bare("a\n  // crate::b\nc\n#[cfg(test)]\nmod tests {\ncrate::d"), "a\nc");
}

#[test]
fn the_table_of_floors_names_only_modules_that_exist() {
    let sources = sources();
    let missing: Vec<_> =
        floors().into_keys().filter(|name| !sources.keys().any(|path| module(path) == name)).collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn only_one_file_tells_the_package_managers_apart() {
    let home = "packages/manager.rs";
    let named = |text: &str, manager: &str| {
        let text = bare(text);
        let is_whole = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        text.split(&format!("Manager::{manager}")).skip(1).any(is_whole)
    };
    let variants = ["Apt", "Dnf", "Yum", "Tdnf", "Zypper", "*"];
    let sources = sources();
    let found: Vec<_> = sources
        .iter()
        .filter(|(path, text)| *path != home && variants.iter().any(|variant| named(text, variant)))
        .map(|(path, _)| path)
        .collect();
    assert!(
        found.is_empty(),
        "{found:?} name a package manager. What only one of them knows lies in its folder below src/packages: ask \
         for it by a method of `PackageManager` ({home})"
    );
    assert!(sources[home].contains("Self::Zypper"), "the managers are no longer told apart in {home}");
}

/// Where a driver may be told from another: its own rooms, and the data of catalogue and plan, which name it.
const KNOW_DRIVERS: [&str; 3] = ["drivers/", "catalog/", "plan_document.rs"];

#[test]
fn only_a_drivers_own_room_tells_drivers_apart() {
    let sources = sources();
    let names = ["Inbox", "MlnxOfed", "Doca"].map(|name| format!("Driver::{name}"));
    let mut wrong = Vec::new();
    for (path, text) in &sources {
        // What test modules share is made up for them.
        if KNOW_DRIVERS.iter().any(|place| path.starts_with(place)) || path == "cache/testing.rs" {
            continue;
        }
        let text = bare(text);
        wrong.extend(text.lines().filter(|line| names.iter().any(|name| line.contains(name))).map(|line| {
            format!(
                "{path}: `{}`\n  What only one driver knows lies in src/drivers/NAME. Give `DriverOps` in \
                 src/drivers/mod.rs a method that answers what is asked here, and call `drivers::ops(driver)`.",
                line.trim()
            )
        }));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let rooms = |name: &str| sources.contains_key(&format!("drivers/{name}/mod.rs"));
    assert!(["inbox", "mlnx_ofed", "doca"].into_iter().all(rooms), "each driver has a room");
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent = sources().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    let silent: Vec<_> = silent.map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "no `//!` at the top: {silent:?}");
}

#[test]
fn no_file_grows_past_what_one_can_read() {
    let lengths = sources().into_iter().map(|(path, text)| (path, code(&text).lines().count()));
    let long: Vec<_> = lengths.filter(|(_, lines)| *lines > LONGEST_FILE).collect();
    assert!(long.is_empty(), "over {LONGEST_FILE} lines without tests: {long:?}");
}

#[test]
fn this_version_has_its_entry_in_the_change_log() {
    let version = env!("CARGO_PKG_VERSION");
    let found = read("CHANGELOG.md").lines().any(|line| line.starts_with("## ") && line.contains(version));
    assert!(found, "CHANGELOG.md has no heading for {version}");
}

#[test]
fn nothing_names_the_machine_it_was_made_on() {
    // In two parts, so that this file does not find itself.
    let mut places = vec![concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/root", "/.")];
    if HOUSE.matches('/').count() > 1 {
        places.push(HOUSE);
    }
    let mut found = Vec::new();
    for path in files_below(Path::new(HOUSE)) {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        for (number, line) in text.lines().enumerate() {
            if places.iter().any(|place| line.contains(place)) {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}
