//! Real Debian roots, staged by their own apt.

use crate::common::deb::Deb;
use crate::common::image;
use crate::common::program::{self, Ran};
use crate::common::root::{Root, debian_root};
use crate::common::still::Still;
use crate::common::wait::until;
use crate::common::web::{Fault, Web};
use crate::signed::Key;
use nix::mount::{MsFlags, mount};
use std::path::Path;

const WANTED: [&str; 6] =
    ["rdma-core", "ibverbs-providers", "ibverbs-utils", "rdmacm-utils", "infiniband-diags", "perftest"];

fn wanted(version: &'static str) -> Vec<Deb> {
    WANTED.iter().map(|name| Deb { name, version, ..Deb::default() }).collect()
}

/// A root that knows nothing but what the test gives it, and a repository for it, signed by a key.
fn scene() -> (Root, Web, Key, tempfile::TempDir) {
    let root = debian_root("bookworm");
    root.write("etc/apt/sources.list", "");
    let key = Key::new();
    let folder = crate::common::scratch();
    key.publish(&wanted("1"), folder.path());
    let web = Web::serve(folder.path());
    (root, web, key, folder)
}

fn put(root: &Root, path: &str, bytes: &[u8]) {
    root.write(path, "");
    std::fs::write(root.path().join(path), bytes).unwrap();
}

fn source(web: &Web, keyring: &str) -> String {
    format!("deb [signed-by={keyring}] {} ./\n", web.address())
}

fn versions(staged: &Ran) -> Vec<String> {
    let files = staged.json()["bundle"]["files"].as_array().unwrap().clone();
    let mut titles: Vec<String> =
        files.iter().map(|file| file["title"].as_str().unwrap().to_owned()).collect();
    titles.sort();
    titles
}

/// Lays something else over this machine's own files of the same paths, for this test alone: another mirror list,
/// another key, another local repository, and a configuration of apt that breaks whoever reads it.
fn poison(marker: &Path) -> tempfile::TempDir {
    let folder = crate::common::scratch();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("apt/mirrors/test.list", "http://127.0.0.1:9/\n");
    write("apt/sources.list", "deb http://127.0.0.1:9/poison x main\n");
    write(
        "apt/apt.conf.d/99poison",
        &format!(
            "APT::Update::Pre-Invoke {{ \"touch {0}\"; }};\nAPT::Update::Post-Invoke {{ \"touch {0}\"; }};\n\
             Acquire::http::Proxy \"http://127.0.0.1:9\";\n",
            marker.display()
        ),
    );
    write("keyrings/only-inside.gpg", "not a key");
    write("srv/repo/Packages", "poison");
    for (name, over) in [("apt", "/etc/apt"), ("keyrings", "/usr/share/keyrings"), ("srv", "/srv")] {
        let none = None::<&str>;
        mount(Some(&folder.path().join(name)), over, none, MsFlags::MS_BIND, none).unwrap();
    }
    folder
}

#[test]
fn what_only_the_image_has_counts_and_what_only_this_machine_has_does_not() {
    let (root, web, key, _folder) = scene();
    put(&root, "usr/share/keyrings/only-inside.gpg", &key.public());
    // As Debian's cloud images have it.
    root.write("etc/apt/mirrors/test.list", &format!("{}/\n", web.address()));
    root.write(
        "etc/apt/sources.list.d/debian.sources",
        "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/test.list\nSuites: ./\nSigned-By:\n /usr/share/keyrings/only-inside.gpg\n",
    );
    let newer = Deb { name: "perftest", version: "2", ..Deb::default() };
    std::fs::create_dir_all(root.path().join("srv/repo")).unwrap();
    key.publish(&[newer], &root.path().join("srv/repo"));
    root.write(
        "etc/apt/sources.list.d/local.list",
        "deb [signed-by=\"/usr/share/keyrings/only-inside.gpg\"] file:///srv/repo ./\n",
    );
    // A pin of the image holds a version back.
    root.write("etc/apt/preferences.d/x", "Package: ibverbs-utils\nPin: version 1\nPin-Priority: 1001\n");
    let marker = root.beside("marker");
    let _poison = poison(&marker);
    let cache = root.beside("cache");
    let staged = image::stage_in_target(&root, &cache);
    let files = versions(&staged);
    assert!(files.contains(&"perftest_2_all.deb".to_owned()), "{files:?}");
    assert!(files.contains(&"rdma-core_1_all.deb".to_owned()), "{files:?}");
    assert!(!marker.exists(), "a hook of this machine ran");
    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(root.installed("perftest").as_deref(), Some("2"));
}

#[test]
fn a_key_that_only_this_machine_has_vouches_for_nothing() {
    let (root, web, key, _folder) = scene();
    let ours = crate::common::scratch();
    std::fs::write(ours.path().join("ours.gpg"), key.public()).unwrap();
    let keyring = ours.path().join("ours.gpg").display().to_string();
    root.write("etc/apt/sources.list", &source(&web, &keyring));
    let staged = image::stage(&root, &root.beside("cache"));
    assert_eq!(staged.code, 14, "{staged:?}");
    assert!(!web.requests().iter().any(|path| path.contains(".deb")), "{:?}", web.requests());
}

/// An index packed by gzip is unpacked in half the time of one packed by xz, which apt asks for otherwise.
#[test]
fn an_index_packed_by_gzip_is_asked_for_first_unless_the_image_prefers_another_or_the_mirror_lacks_it() {
    let (root, web, key, folder) = scene();
    key.publish_packed(&wanted("1"), folder.path(), &[("gzip", "Packages.gz"), ("xz", "Packages.xz")]);
    put(&root, "etc/apt/keyrings/k.gpg", &key.public());
    root.write("etc/apt/sources.list", &source(&web, "/etc/apt/keyrings/k.gpg"));
    let asked_for = |what: &str| {
        let before = web.requests().len();
        image::stage(&root, &root.beside(what)).expect(0, "staged");
        let asked = web.requests().split_off(before);
        let packed = |end: &str| asked.iter().any(|path| path.ends_with(&format!("/Packages.{end}")));
        (packed("gz"), packed("xz"))
    };
    assert_eq!(asked_for("by gzip"), (true, false));
    root.write("etc/apt/apt.conf.d/order", "Acquire::CompressionTypes::Order:: \"xz\";\n");
    assert_eq!(asked_for("as the image prefers"), (false, true));
    std::fs::remove_file(root.path().join("etc/apt/apt.conf.d/order")).unwrap();
    std::fs::remove_file(folder.path().join("Packages.gz")).unwrap();
    assert_eq!(asked_for("without what the release names"), (true, true));
}

#[test]
fn an_unsigned_repository_that_its_owner_trusts_is_named_and_recorded_unless_settings_ask_for_more() {
    let (root, web, _key, folder) = scene();
    std::fs::remove_file(folder.path().join("InRelease")).unwrap();
    root.write("etc/apt/sources.list", &format!("deb [trusted=yes] {} ./\n", web.address()));
    let cache = root.beside("cache");
    let staged = image::stage(&root, &cache);
    staged.expect(0, "staged");
    assert!(
        staged.stderr.contains(&format!("no key vouches for the packages of {}", web.address())),
        "{staged:?}"
    );
    let recorded = &staged.json()["bundle"]["config"]["unsigned"];
    assert_eq!(recorded[0].as_str().unwrap().trim_end_matches('/'), web.address(), "{staged:?}");
    for trust in ["signed", "digest"] {
        root.write("etc/ofedctl/config.d/x.yaml", &format!("trust: {trust}\n"));
        let refused = image::stage(&root, &cache);
        refused.expect(14, "repository-key");
        assert!(refused.stderr.contains("`trust`") && refused.stderr.contains(&web.address()), "{refused:?}");
    }
    root.write("etc/ofedctl/config.d/x.yaml", "");
    image::bake(&root, &cache).expect(0, "installed");
    // Another image takes unsigned packages only where its own source says the same of them.
    let line = root.read("etc/apt/sources.list");
    let other = debian_root("bookworm");
    for less in [
        format!("# {line}"),
        format!("deb [signed-by=/usr/share/keyrings/k.gpg] {} ./\n", web.address()),
        format!("deb [trusted=yes] {}/beside ./\n", web.address()),
    ] {
        other.write("etc/apt/sources.list", &less);
        let refused = image::bake(&other, &cache);
        refused.expect(14, "cache-missing");
        assert!(refused.stderr.contains(&web.address()), "{less}: {refused:?}");
    }
    other.write("etc/apt/sources.list", &line.replace("] ", "]   "));
    image::bake(&other, &cache).expect(0, "installed");
}

#[test]
fn what_an_image_said_is_good_for_another_only_by_the_keys_that_this_one_has() {
    let (root, web, key, _folder) = scene();
    put(&root, "etc/apt/keyrings/k.gpg", &key.public());
    root.write("etc/apt/sources.list", &source(&web, "/etc/apt/keyrings/k.gpg"));
    let cache = root.beside("cache");
    let staged = image::stage(&root, &cache);
    staged.expect(0, "staged");
    let origins = &staged.json()["bundle"]["config"]["origins"];
    assert_eq!(origins[0]["keys"][0].as_str().unwrap().len(), 40, "{staged:?}");
    let other = debian_root("bookworm");
    other.write("etc/apt/sources.list", "");
    let refused = image::bake(&other, &cache);
    refused.expect(14, "cache-missing");
    assert!(refused.stderr.contains(&web.address()), "{refused:?}");
    put(&other, "usr/share/keyrings/of-its-own.gpg", &key.public());
    image::bake(&other, &cache).expect(0, "installed");
}

#[test]
fn a_key_that_another_image_has_does_not_vouch_for_what_the_first_ones_own_apt_made_up() {
    let (root, web, key, folder) = scene();
    put(&root, "etc/apt/keyrings/k.gpg", &key.public());
    root.write("etc/apt/sources.list", &source(&web, "/etc/apt/keyrings/k.gpg"));
    // Served beside the signed ones, and in no list that the key signs.
    std::fs::create_dir(folder.path().join("made-up")).unwrap();
    let made_up = Deb { name: "perftest", version: "1", depends: "libc6", ..Deb::default() };
    let made_up = std::fs::read(made_up.build(&folder.path().join("made-up"))).unwrap();
    let real = std::fs::read(folder.path().join("perftest_1_all.deb")).unwrap();
    let lie = format!(
        "#!/bin/sh\n\"$0.real\" \"$@\" | sed 's#[^/]*perftest_1_all.deb\\(. perftest_1_all.deb\\) {0}#made-up/perftest_1_all.deb\\1 {1}#; \
         s#{2}#{3}#; s#^Size: {0}#Size: {1}#'\n",
        real.len(),
        made_up.len(),
        crate::common::sha256(&real),
        crate::common::sha256(&made_up)
    );
    for name in ["apt-get", "apt-cache"] {
        let path = root.path().join("usr/bin").join(name);
        std::fs::copy(&path, path.with_extension("real")).unwrap();
        std::fs::remove_file(&path).unwrap();
        put(&root, &format!("usr/bin/{name}"), lie.as_bytes());
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let cache = root.beside("cache");
    let staged = image::stage(&root, &cache);
    staged.expect(0, "staged");
    assert!(web.requests().iter().any(|path| path.contains("made-up")), "{staged:?}");
    assert!(staged.json()["bundle"]["config"]["origins"][0]["keys"].is_null(), "{staged:?}");
    let other = debian_root("bookworm");
    other.write("etc/apt/sources.list", "");
    put(&other, "usr/share/keyrings/of-its-own.gpg", &key.public());
    image::bake(&other, &cache).expect(14, "cache-missing");
}

#[test]
fn an_image_whose_dpkg_was_interrupted_is_named_with_what_to_do() {
    let (root, web, key, _folder) = scene();
    put(&root, "etc/apt/keyrings/k.gpg", &key.public());
    root.write("etc/apt/sources.list", &source(&web, "/etc/apt/keyrings/k.gpg"));
    root.write("var/lib/dpkg/updates/0001", "Package: x\n");
    let refused = image::stage(&root, &root.beside("cache"));
    refused.expect(14, "package-manager");
    assert!(refused.stderr.contains("dpkg --configure -a"), "{refused:?}");
}

/// Processes that read a root of this path: it is among the arguments of the one that lends it.
fn lenders(root: &Root) -> Vec<u32> {
    let path = root.path().display().to_string();
    let numbers = std::fs::read_dir("/proc").unwrap();
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let lends = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        (line.contains("__enter") || line.contains("__become")) && line.contains(&path)
    };
    numbers.filter(lends).collect()
}

/// The processes in the pid namespace that the children of a process are in.
fn below(lender: u32) -> Vec<u32> {
    let namespace = |pid: u32, which: &str| std::fs::read_link(format!("/proc/{pid}/ns/{which}")).ok();
    let wanted = namespace(lender, "pid_for_children");
    let numbers = std::fs::read_dir("/proc").unwrap();
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|pid| wanted.is_some() && namespace(*pid, "pid") == wanted).collect()
}

#[test]
fn a_run_killed_while_apt_reads_leaves_no_process_and_the_image_as_it_was() {
    let (root, web, key, _folder) = scene();
    put(&root, "etc/apt/keyrings/k.gpg", &key.public());
    root.write("etc/apt/sources.list", &source(&web, "/etc/apt/keyrings/k.gpg"));
    web.fail("InRelease", Fault::StallAfter(0), 9);
    let before = Still::of(root.path());
    let cache = root.beside("cache");
    let mut child = program::start(program::program(&stage_args(&root, &cache)));
    until("apt asks", || web.requests().iter().any(|path| path.contains("InRelease")));
    let inner: Vec<u32> = lenders(&root).into_iter().flat_map(below).collect();
    assert!(inner.len() > 1, "{inner:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    until("all have ended", || lenders(&root).is_empty() && !inner.iter().any(|pid| is_alive(*pid)));
    before.assert_same(root.path());
    web.heal();
    image::stage(&root, &cache).expect(0, "staged");
    before.assert_same(root.path());
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

fn stage_args(root: &Root, cache: &Path) -> Vec<String> {
    let mut args = image::bake_args(root, cache);
    "stage".clone_into(&mut args[0]);
    args.retain(|arg| arg != "--offline");
    args
}

#[test]
fn a_plain_user_stages_in_a_namespace_of_their_own_or_is_told_what_stands_in() {
    let (root, web, key, _folder) = scene();
    put(&root, "etc/apt/keyrings/k.gpg", &key.public());
    root.write("etc/apt/sources.list", &source(&web, "/etc/apt/keyrings/k.gpg"));
    let before = Still::of(root.path());
    // Somewhere that another user can reach.
    let folder = tempfile::Builder::new().prefix("test-").tempdir_in("/var/tmp").unwrap();
    std::os::unix::fs::chown(folder.path(), Some(65534), Some(65534)).unwrap();
    let program = folder.path().join("ofedctl");
    std::fs::copy(env!("CARGO_BIN_EXE_ofedctl"), &program).unwrap();
    let shown = folder.path().join("image");
    std::fs::create_dir(&shown).unwrap();
    let none = None::<&str>;
    mount(Some(root.path()), &shown, none, MsFlags::MS_BIND, none).unwrap();
    let as_nobody = |args: &[String]| {
        let mut nobody = std::process::Command::new("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]).args(args);
        nobody.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
        program::finish(nobody)
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let may =
        as_nobody(&words("unshare --user --map-root-user --mount --pid --fork --mount-proc true")).code == 0;
    let shown_root = shown.display().to_string();
    let ours = root.path().display().to_string();
    let args = stage_args(&root, &folder.path().join("cache"));
    let args = args.into_iter().map(|arg| if arg == ours { shown_root.clone() } else { arg });
    let args: Vec<String> = std::iter::once(program.display().to_string()).chain(args).collect();
    let staged = as_nobody(&args);
    nix::mount::umount(&shown).unwrap();
    staged.expect(0, "staged");
    assert_eq!(staged.stderr.contains("stands in for it"), !may, "{staged:?}");
    before.assert_same(root.path());
}

/// The images of others: without apt's helper, without apt, and for another machine.
#[test]
fn an_image_whose_apt_cannot_run_is_resolved_by_the_apt_of_this_machine_which_is_said_with_the_reason() {
    let none = "the target has none that can be asked";
    for (file, text, why) in [
        ("usr/bin/apt-config", None, none),
        ("usr/bin/apt-get", None, none),
        ("usr/bin/dash", Some("\x7fELF\x02\x01\x01 for no machine"), "it is for another architecture"),
    ] {
        let (root, web, key, _folder) = scene();
        put(&root, "etc/apt/keyrings/k.gpg", &key.public());
        root.write("etc/apt/sources.list", &source(&web, "/etc/apt/keyrings/k.gpg"));
        match text {
            None => std::fs::remove_file(root.path().join(file)).unwrap(),
            Some(text) => std::fs::write(root.path().join(file), text).unwrap(),
        }
        let staged = image::stage(&root, &root.beside("cache"));
        staged.expect(0, "staged");
        let said = format!(
            "the target's own apt cannot resolve in the target, because {why}; apt of this machine stands in for it"
        );
        assert!(staged.stderr.contains(&said), "{file}: {staged:?}");
        let titles = versions(&staged);
        let is_there = |name: &&str| titles.iter().any(|title| title.starts_with(&format!("{name}_1_")));
        assert!(WANTED.iter().all(is_there), "{file}: {staged:?}");
    }
}
