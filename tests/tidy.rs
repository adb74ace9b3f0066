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

/// Every source, test and document of the house, by its path from the top.
fn texts() -> BTreeMap<String, String> {
    let kinds = ["rs", "md", "mdx", "py", "sh", "yaml", "toml", "hcl"];
    let is_text = |path: &PathBuf| path.extension().is_some_and(|kind| kinds.iter().any(|it| kind == *it));
    let named = |path: PathBuf| {
        let name = path.strip_prefix(HOUSE).unwrap().display().to_string();
        (name, String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned())
    };
    files_below(Path::new(HOUSE)).into_iter().filter(is_text).map(named).collect()
}

fn is_a(path: &str, kind: &str) -> bool {
    Path::new(path).extension().is_some_and(|it| it == kind)
}

#[test]
fn only_the_host_floor_starts_programs_and_reads_the_environment() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if path.starts_with("host/") || path == "main.rs" {
            continue;
        }
        for line in bare(&text).lines() {
            if line.contains("process::Command") || line.contains("env::var") {
                wrong.push(format!("{path}: `{}`", line.trim()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "\n{}\nA program is run by `Host::run`, which logs it, ends it with the run and keeps it in its sandbox; a variable \
         is read by `host::variable`.",
        wrong.join("\n")
    );
}

/// Only these folders are locked while they are in use, so that the next run can remove what a killed one left.
#[test]
fn folders_for_temporary_files_are_made_in_one_place() {
    // The socket of the Packer plugin needs a short path, and Packer kills the plugin after every build. The unit tests have
    // their empty roots from the module of the host.
    let makers = ["host/temp.rs", "doors/packer/protocol/handshake.rs", "host/mod.rs"];
    let mut wrong: Vec<String> = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !makers.contains(&path.as_str())) {
        let bare = bare(&text);
        if bare.contains(".tempdir") || bare.contains("tempfile::tempdir") {
            wrong.push(path);
        }
    }
    wrong.retain(|path| !path.ends_with("testing.rs") && !path.contains("tests"));
    assert!(
        wrong.is_empty(),
        "{wrong:?} make temporary folders; use `host::temp::Folder`, which the next run sweeps"
    );
}

/// `make unit` is the loop of whoever has no root; only root can give a file to somebody else.
#[test]
fn a_unit_test_that_gives_a_file_away_says_that_it_needs_root() {
    let gives = concat!("chown", "(");
    for path in files_below(&Path::new(HOUSE).join("src")) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for test in text.split("#[test]\n").skip(1) {
            let (name, body) = test.split_once('(').unwrap_or((test, ""));
            let body = body.split("\n    }\n").next().unwrap_or_default();
            let must = body.lines().any(|line| line.contains(gives) && line.contains(".unwrap()"));
            assert!(
                !must || name.contains("fn as_root_"),
                "{}: `{}` works only as root. Begin its name with `as_root_`, and `make unit` leaves it out.",
                path.display(),
                name.trim()
            );
        }
    }
}

/// Where a test may sleep: the one place that waits, and the servers that imitate slow networks.
const SLEEP: [&str; 3] = ["tests/common/wait.rs", "tests/common/web.rs", "tests/common/relay.rs"];

#[test]
fn tests_wait_for_conditions_and_never_for_a_time() {
    let call = concat!("thread::", "sleep");
    let found: Vec<String> = texts()
        .into_iter()
        .filter(|(path, text)| {
            path.starts_with("tests/") && !SLEEP.contains(&path.as_str()) && text.contains(call)
        })
        .map(|(path, _)| path)
        .collect();
    assert!(
        found.is_empty(),
        "{found:?} sleep. Wait with `wait::until` of tests/common/wait.rs until what you wait for is so; to end a program at \
         a moment, name a point of src/host/fault.rs and use `program::kill_at` or `program::stop_at`."
    );
}

#[test]
fn every_fault_point_is_reached_in_the_program_and_used_by_a_test() {
    let texts = texts();
    let mut wrong = Vec::new();
    for row in
        texts["src/host/fault.rs"].lines().filter(|line| line.starts_with("    ") && line.ends_with("\";"))
    {
        let mut words = row.split_whitespace();
        let (Some(variant), Some(name)) = (words.next(), words.next().filter(|word| word.starts_with('"')))
        else {
            continue;
        };
        let name = name.trim_matches('"');
        let is_in = |folder: &str, what: &str| {
            texts.iter().any(|(path, text)| {
                path.starts_with(folder) && path != "src/host/fault.rs" && text.contains(what)
            })
        };
        if !is_in("src/", &format!("Point::{variant}")) {
            wrong.push(format!(
                "`{name}` is reached nowhere: call `fault::reached(Point::{variant})` there, or remove it"
            ));
        }
        if !is_in("tests/", &format!("\"{name}")) {
            wrong.push(format!(
                "`{name}` is used by no test: add a `kill_at(\"{name}\", …)`, or remove the point"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_test_is_skipped_and_no_work_is_left_as_a_note() {
    let marks = [concat!("#[ig", "nore"), concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut found = Vec::new();
    for (path, text) in texts().into_iter().filter(|(path, _)| is_a(path, "rs")) {
        found.extend(marks.iter().filter(|mark| text.contains(*mark)).map(|mark| format!("{path}: {mark}")));
    }
    assert!(
        found.is_empty(),
        "{found:?}: a test that does not run proves nothing, and a note of work to do is read by nobody. Do it, or say in \
         the tracker what is missing."
    );
}

/// Names that say nothing where they are called.
const RIDDLES: [&str; 8] = ["of", "look", "said", "keep", "bring", "prove", "make_right", "do_it"];

#[test]
fn functions_are_named_after_what_they_return_or_do() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for name in RIDDLES {
            if text.contains(&format!("fn {name}(")) || text.contains(&format!("fn {name}<")) {
                found.push(format!("{path}: fn {name}"));
            }
        }
    }
    assert!(
        found.is_empty(),
        "{found:?}: somebody who reads only the call cannot tell what it does. Name what it returns (`from_settings`, \
         `vendor_file`) or does (`fetch_key`, `copy`)."
    );
}

#[test]
fn a_test_is_called_by_a_sentence() {
    let mut short = Vec::new();
    for (path, text) in texts().into_iter().filter(|(path, _)| is_a(path, "rs")) {
        for (at, _) in text.match_indices(concat!("#[te", "st]\n")) {
            let rest = text[at..].split_once("fn ").map_or("", |(_, rest)| rest);
            let name = first_word(rest);
            if name.matches('_').count() < 2 {
                short.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(
        short.is_empty(),
        "{short:?}: the name of a test says what must be true: `a_refused_removal_takes_nothing_out`"
    );
}

#[test]
fn documents_name_only_files_that_exist() {
    let mut missing = Vec::new();
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "RELEASING.md"] {
        let text = read(document);
        // Every second part of the text between single back quotes is code.
        let code = text.split('`').skip(1).step_by(2);
        let is_path = |word: &&str| {
            ["src/", "tests/", "packer/", "azure/", "cloud-init/"].iter().any(|top| word.starts_with(top))
                && !word.contains([' ', '*', '\n'])
                && !word.contains("NAME")
        };
        let gone = code.filter(is_path).filter(|path| !Path::new(HOUSE).join(path).exists());
        missing.extend(gone.map(|path| format!("{document}: {path}")));
    }
    assert!(
        missing.is_empty(),
        "{missing:?}: what a document names has moved or is gone; name where it is now"
    );
}

/// Phrases that a reader has to guess at, each with what to write in its place.
const GUESSES: [(&str, &str); 4] = [
    ("anew", "again"),
    ("came with it", "was installed with it"),
    ("made right", "prepared, repaired or installed"),
    ("as good as none", "counts as none, because …"),
];

#[test]
fn comments_and_documents_are_plain_english() {
    let mut found = Vec::new();
    let is_ours = |path: &str| path.starts_with("src/") || is_a(path, "md") || is_a(path, "mdx");
    for (path, text) in texts().into_iter().filter(|(path, _)| is_ours(path)) {
        for (number, line) in text.lines().enumerate() {
            let hits = GUESSES.iter().filter(|(phrase, _)| {
                line.contains(phrase)
                    && line
                        .split(|c: char| !c.is_alphanumeric() && c != ' ')
                        .any(|part| format!(" {} ", part.trim()).contains(&format!(" {phrase} ")))
            });
            found.extend(
                hits.map(|(phrase, plain)| format!("{path}:{}: `{phrase}`; write `{plain}`", number + 1)),
            );
        }
    }
    assert!(found.is_empty(), "\n{}\nA sentence stands alone: say who does what to what.", found.join("\n"));
}

/// A promise without a test is a wish.
#[test]
fn each_promise_of_the_security_page_names_tests_that_exist() {
    let page = read("SECURITY.md");
    let (_, promises) = page.split_once("## Promises").expect("the page has promises");
    let promises = promises.split("\n## ").next().unwrap_or_default();
    let all = everything("src") + &everything("tests");
    for promise in promises.split("\n- ").skip(1) {
        let named = promise.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() > 2);
        let named: Vec<&str> = named.collect();
        assert!(!named.is_empty(), "no test is named: {promise}");
        for test in named {
            assert!(all.contains(&format!("fn {test}()")), "there is no test `{test}`");
        }
    }
}

/// The text of all Rust files below a folder.
fn everything(folder: &str) -> String {
    let mut all = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    all
}

/// What a script may be put together from beside constants: the command of a manager, from its table.
const PARTS_OF_SCRIPTS: [&str; 2] = ["install", "command"];

/// A script with a value in it would be one that the value can add words to. Values go as arguments: `"$1"`.
#[test]
fn every_script_for_a_shell_is_made_of_constants() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (path, text) in sources() {
        let code = bare(&text);
        for (at, _) in code.match_indices("Cmd::shell(") {
            count += 1;
            let given = code[at + 11..].split([',', ')']).next().unwrap().trim_start_matches([' ', '&']);
            let is_constant = given.starts_with('"')
                || code.contains(&format!("let {given} = \""))
                || given.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            // Put together just above, in the same function.
            let made = code[..at].rsplit_once(&format!("let {given} = format!(")).map(|(_, made)| made);
            let made = made.and_then(|made| made.split(");").next());
            let is_of = |part: &str| {
                let part = part.split('}').next().unwrap_or_default();
                part.chars().all(|c| c.is_ascii_uppercase() || c == '_') && !part.is_empty()
                    || PARTS_OF_SCRIPTS.contains(&part)
            };
            if !is_constant && !made.is_some_and(|made| made.split('{').skip(1).all(is_of)) {
                wrong.push(format!("src/{path}: `{given}`"));
            }
        }
    }
    assert!(count > 4, "no scripts were found: has their form changed?");
    assert!(
        wrong.is_empty(),
        "{wrong:?} may hold a value from outside. Hand it over as an argument, and say `\"$1\"` in the script."
    );
}
