//! What the command line looks like on a terminal, and what it answers to a wrong word.

use crate::common::need::need;
use crate::common::program::{program, run};
use std::path::Path;
use std::process::{Command, Stdio};

/// What a command writes to a terminal of so many columns.
#[track_caller]
fn on_terminal(columns: u16, args: &str, environment: &[(&str, &str)]) -> String {
    need(&["bsdutils"]);
    let line = format!("stty rows 40 cols {columns}; {} {args}", env!("CARGO_BIN_EXE_ofedctl"));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::null());
    script.env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "xterm").envs(environment.iter().copied());
    String::from_utf8(script.output().unwrap().stdout).unwrap().replace('\r', "")
}

/// wp-cli/ideas 186: names that were broken in the middle, so that nobody could copy them.
#[test]
fn lines_fit_the_terminal_and_no_word_is_cut() {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for args in [
        "plan --distro debian12 --vm-size Standard_HB120rs_v3",
        "explain trust",
        "explain cache-missing",
        "plan --nic cx66 --distro debian12",
    ] {
        let wide = on_terminal(1000, args, &[("NO_COLOR", "1")]);
        for columns in [60, 80, 100] {
            let shown = on_terminal(columns, args, &[("NO_COLOR", "1")]);
            let over = |line: &&str| line.chars().count() > usize::from(columns) && line.trim().contains(' ');
            assert_eq!(shown.lines().find(over), None, "{args}: {shown}");
            assert_eq!(words(&shown), words(&wide), "{args}");
        }
    }
    // A table that is wider is told in rows.
    let rows = on_terminal(80, "catalog list", &[]);
    assert!(rows.contains("debian12       x86_64   inbox: "), "{rows}");
    assert!(on_terminal(200, "catalog list", &[]).starts_with("distribution "), "the table");
}

/// cli/cli 3026 and 13335: `NO_COLOR` was not respected everywhere. bashly-framework/bashly 610: an empty one says nothing.
#[test]
fn colours_are_for_terminals_that_want_them() {
    let wrong = "explain no-such-thing";
    assert!(on_terminal(80, wrong, &[]).contains("\u{1b}["), "no colour");
    assert!(!on_terminal(80, wrong, &[("NO_COLOR", "1")]).contains("\u{1b}["));
    assert!(on_terminal(80, wrong, &[("NO_COLOR", "")]).contains("\u{1b}["), "no colour");
    assert!(!on_terminal(80, wrong, &[("TERM", "dumb")]).contains("\u{1b}["));
    let mut piped = program(&["explain", "no-such-thing"]);
    let piped = piped.env("TERM", "xterm").output().unwrap();
    assert!(!String::from_utf8(piped.stderr).unwrap().contains('\u{1b}'));
}

/// What a command on a terminal has done before it writes there: the programs it started and the files it opened.
#[track_caller]
fn before_the_first_line(log: &Path, args: &str) -> (usize, usize) {
    let line = format!(
        "strace -f -qq -e trace=execve,openat,openat2,write -o {} {}",
        log.display(),
        program_line(args)
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::null());
    script.env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "xterm").output().unwrap();
    let calls = std::fs::read_to_string(log).unwrap();
    let is_first = |call: &&str| call.contains("write(1, ") || call.contains("write(2, ");
    assert!(calls.lines().any(|call| is_first(&call)), "{args} wrote nothing");
    let before: Vec<&str> = calls.lines().take_while(|call| !is_first(call)).collect();
    let count = |name: &str| before.iter().filter(|call| call.contains(name)).count();
    (count("execve(") - 1, count("open"))
}

fn program_line(args: &str) -> String {
    format!("{} {args}", env!("CARGO_BIN_EXE_ofedctl"))
}

/// carvel-dev/kapp 28: nothing was told until the end. What is on the screen within the blink of an eye cannot be
/// measured where others work, too; that nothing long comes before it can be counted.
#[test]
fn every_command_has_its_first_line_on_the_terminal_before_anything_long() {
    need(&["strace", "bsdutils"]);
    let folder = crate::common::scratch();
    let (root, log) = (folder.path().join("root"), folder.path().join("calls"));
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=12\n").unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (root, cache) = (root.display(), place("cache"));
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(Command::new(house.join("packaging/small_cache.py")).arg(&cache).status().unwrap().success());
    for args in [
        format!("detect --root {root}"),
        format!("plan --root {root} --vm-size Standard_HB120rs_v3"),
        format!("stage --root {root} --vm-size Standard_HB120rs_v3 --cache {}", place("new")),
        format!("bake --root {root} --vm-size Standard_HB120rs_v3 --cache {cache} --offline"),
        format!("verify --root {root}"),
        format!("status --root {root}"),
        format!("report --root {root} --out {}", place("page.html")),
        format!("support-bundle --root {root} --out {}", place("help.tgz")),
        format!("uninstall --root {root}"),
        format!("generalize --root {root}"),
        format!("cache list --cache {cache}"),
        format!("cache verify --cache {cache}"),
        format!("cache export --cache {cache} --out {}", place("all.tar")),
        format!("cache list --cache {}", place("all.tar")),
        format!("cache push --cache {cache} oci://127.0.0.1:1/x:y"),
        format!("cache pull --cache {} oci://127.0.0.1:1/x:y", place("other")),
        format!("cache gc --cache {cache}"),
        format!("cloud-init setup --root {root}"),
        format!("packer setup --plugin-path {}", place("plugins")),
        format!("extension package --out {}", place("a.zip")),
        format!("settings --root {root}"),
        "catalog list".to_owned(),
        "explain".to_owned(),
        "completions bash".to_owned(),
        "man".to_owned(),
        "--help".to_owned(),
    ] {
        let (programs, files) = before_the_first_line(&log, &args);
        assert!(
            programs == 0 && files < 400,
            "{args}: {programs} programs and {files} files before its first line"
        );
    }
}

/// Textualize/rich 501: what was piped was broken at 80 columns all the same. microsoft/winget-cli 3071: it was cut there.
#[test]
fn what_is_piped_is_neither_broken_nor_cut() {
    let plan = run(&["plan", "--distro", "debian12", "--vm-size", "Standard_HB120rs_v3"]).stdout;
    assert!(plan.lines().any(|line| line.chars().count() > 100), "{plan}");
    let list = run(&["catalog", "list"]).stdout;
    assert!(list.starts_with("distribution ") && list.lines().next().unwrap().len() > 100, "{list}");
}

/// sharkdp/fd 24: a reader that has seen enough goes away. facebook/zstd 42: a full disk was told with a code of success.
#[test]
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is_one() {
    let piped = |script: &str| {
        let mut shell = Command::new("bash");
        let output = shell.args(["-c", script, env!("CARGO_BIN_EXE_ofedctl")]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let head = piped("\"$0\" explain settings | head -n 1 >/dev/null; exit ${PIPESTATUS[0]}");
    assert_eq!(head, (Some(0), String::new()));
    let (code, told) = piped("\"$0\" explain settings >/dev/full");
    assert!(code != Some(0) && told.contains("cannot write the result"), "{code:?}: {told}");
}

/// casey/just 2394: what completions offered came from another place than the one that the command line named.
#[test]
fn completions_list_the_bundles_of_the_cache_that_the_command_line_names() {
    need(&["python3"]);
    let folder = crate::common::scratch();
    let cache = folder.path().join("cache");
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Command::new(house.join("packaging/small_cache.py")).arg(&cache).status().unwrap();
    assert!(made.success());
    let script = r#"
        . <("$0" completions bash)
        COMP_WORDS=("$0" cache --cache "$1" "${@:2}" ""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _ofedctl "$0" "" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[@]}""#;
    for words in [vec!["push", "--bundle"], vec!["sign", "--bundle"], vec!["gc", "--remove"], vec!["export"]]
    {
        let mut bash = Command::new("bash");
        bash.args(["-c", script, env!("CARGO_BIN_EXE_ofedctl")]).arg(&cache).args(&words);
        let output = bash.output().unwrap();
        let offered = String::from_utf8(output.stdout).unwrap();
        assert!(offered.split_whitespace().any(|word| word == "small"), "{words:?}: {offered}");
    }
}

#[test]
fn a_document_for_other_programs_keeps_its_lines_on_a_terminal() {
    for args in ["completions bash", "explain schema plan", "man bake"] {
        let piped = run(&args.split(' ').collect::<Vec<_>>()).stdout;
        assert_eq!(on_terminal(40, args, &[]), piped, "{args}");
    }
}

#[test]
fn a_wrong_word_is_answered_with_the_right_one() {
    for (line, meant) in [
        ("instal", "`install`"),
        ("cache lst", "`list`"),
        ("man cache lst", "`list`"),
        ("bake --rot /x", "`--root`"),
        ("completions bsh", "`bash`"),
        ("report --out x.html --sbom cyclone", "`cyclonedx`"),
        ("plan --distro ubunto22.04", "ubuntu22.04"),
        ("plan --vm-size Standard_HB120sr_v3", "Standard_HB120rs_v3"),
        ("plan --driver mlnx --distro debian12", "`mlnx_ofed`"),
        ("plan --nic cx66 --distro debian12", "`cx6`"),
        ("plan --trust sined --distro debian12", "`signed`"),
        ("settings --set drivr=inbox", "`driver`"),
        ("settings --set driver=inbx", "`inbox`"),
        ("explain cache-mising", "`cache-missing`"),
        ("explain schema recipt", "`receipt`"),
    ] {
        let ran = run(&line.split(' ').collect::<Vec<_>>());
        assert_ne!(ran.code, 0, "{line}");
        assert!(ran.stderr.contains("did you mean") && ran.stderr.contains(meant), "{line}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{line}: {}", ran.stderr);
    }
}
