//! Staging by the image's own tdnf, in the image. It runs with what answers like tdnf, and with the real one where
//! `OFEDCTL_TDNF` names it: see `tdnf_program.rs`.

use crate::bake::{give, stack};
use crate::common::image;
use crate::common::root::Root;
use crate::common::web::Web;
use crate::packages::{Key, Repository, Rpm, index};
use crate::roots::MARINER2;
use crate::tdnf_program;
use std::fmt::Write;

const FILE: &str = "etc/yum.repos.d/azurelinux-official-base.repo";
const KEY: &str = "etc/pki/rpm-gpg/MICROSOFT-RPM-GPG-KEY";

/// Mariner's, which has no modules of the distribution's own build.
fn root() -> Root {
    let root = MARINER2.root();
    tdnf_program::put(&root);
    root.write("etc/ofedctl/config.yaml", "driver: inbox\n");
    root
}

/// A repository as Azure Linux 3 has it, whose address has variables in it. The version of the release stands for the first.
fn file(address: &str, more: &str) -> String {
    format!(
        "[azurelinux-official-base]\nname=Azure Linux Official $releasever $basearch\n\
         baseurl={address}/$releasever/prod/base/$basearch\ngpgcheck=1\n\
         gpgkey=file:///{KEY}\nenabled=1\nskip_if_unavailable=True\nsslverify=1\n{more}"
    )
}

/// The packages, laid out as that address has them, signed by a key.
fn signed(key: &Key) -> (Web, tempfile::TempDir) {
    let folder = crate::common::scratch();
    let base = folder.path().join("8/prod/base/x86_64");
    let packages = base.join("Packages");
    std::fs::create_dir_all(&packages).unwrap();
    for rpm in stack() {
        rpm.build(&packages);
    }
    key.sign(&packages);
    index(&base);
    // From 3.6 on it is the version that the release provides, with its release (vmware/tdnf, bf6e9c2).
    std::os::unix::fs::symlink("8", folder.path().join("8-1")).unwrap();
    (Web::serve(folder.path()), folder)
}

#[test]
fn tdnf_of_the_image_chooses_and_the_keys_of_its_repositories_vouch() {
    let key = Key::new();
    let (web, _folder) = signed(&key);
    let root = root();
    root.write(FILE, &file(&web.address(), ""));
    // Neither no key nor another one vouches, whatever tdnf would install.
    for public in [None, Some(Key::new().public())] {
        if let Some(public) = public {
            root.write(KEY, &public);
        }
        image::stage(&root, &root.beside("cache")).expect(14, "repository-key");
    }
    root.write(KEY, &key.public());
    let cache = root.beside("cache");
    let staged = image::stage_in_target(&root, &cache);
    assert!(staged.stderr.contains("asking the target's tdnf"), "{staged:?}");
    assert!(staged.json()["bundle"]["config"]["unsigned"].as_array().is_none_or(Vec::is_empty), "{staged:?}");
    let packages = web.asked().into_iter().filter(|it| it.path.ends_with(".noarch.rpm"));
    let fetched: Vec<_> = packages.map(|it| it.header("user-agent").unwrap_or_default().to_owned()).collect();
    assert!(!fetched.is_empty() && fetched.iter().all(|it| it.contains("ofedctl")), "{fetched:?}");
    image::bake(&root, &cache).expect(0, "installed");
    image::ask("verify", &root).expect(0, "verified");
    assert!(image::receipt(&root)["added"].as_array().unwrap().iter().any(|it| it == "test-pciutils"));
}

#[test]
fn an_unsigned_package_is_refused_where_signatures_are_asked_for_and_told_where_they_are_not() {
    // tdnf 3.6.0 installs it: rpm finds no signature, and tdnf looks for a key only where one is missing.
    let repository = Repository::of(&stack());
    let root = root();
    let key = Key::new();
    root.write(KEY, &key.public());
    let asks = format!("gpgkey=file:///{KEY}\n");
    for (line, code, reason) in [
        ("", 14, "repository-key"),
        // The last one counts, and what is no number is no to tdnf; here it is yes.
        ("gpgcheck=1\n", 14, "repository-key"),
        ("gpgcheck=yes\n", 14, "repository-key"),
        ("gpgcheck=0\n", 0, "staged"),
    ] {
        let text = repository.file(line).replacen("gpgcheck=0\n", "", 1);
        root.write(FILE, &format!("{text}{asks}"));
        let staged = image::stage(&root, &root.beside("cache"));
        staged.expect(code, reason);
        let told = staged.stderr.contains("no key vouches for the packages of");
        assert_eq!(told, code == 0, "{line}: {staged:?}");
    }
}

#[test]
fn what_a_login_reaches_is_downloaded_by_tdnf_with_that_login() {
    let repository = Repository::of(&stack());
    let root = root();
    root.write(FILE, &repository.file("username=me\npassword=secret\n"));
    let cache = root.beside("cache");
    image::stage_in_target(&root, &cache);
    let asked = repository.web.asked();
    let packages: Vec<_> = asked.iter().filter(|it| it.path.ends_with(".noarch.rpm")).collect();
    let with_login = |it: &&&crate::common::web::Request| it.header("authorization").is_some();
    assert!(!packages.is_empty(), "{asked:?}");
    assert_eq!(packages.iter().filter(with_login).count(), packages.len(), "{packages:?}");
    image::bake(&root, &cache).expect(0, "installed");
}

#[test]
fn what_the_image_locks_and_leaves_out_hides_nothing_that_is_asked_for_and_brings_no_kernel() {
    let mut rpms = stack();
    rpms.push(Rpm::plain("test-pciutils", "4.0", ""));
    rpms.push(Rpm::plain("kernel", "7", ""));
    let repository = Repository::of(&rpms);
    let root = root();
    root.write(FILE, &repository.file(""));
    root.write("etc/tdnf/locks.d/own.conf", "libibverbs\ntest-pciutils\nperftest\n");
    let settings = root.read("etc/tdnf/tdnf.conf");
    root.write("etc/tdnf/tdnf.conf", &format!("{settings}excludepkgs=perf* infiniband-diags\n"));
    give(&root, &Rpm::plain("test-pciutils", "3.7", ""));
    let cache = root.beside("cache");
    let staged = image::stage_in_target(&root, &cache);
    let asked = repository.web.requests();
    let came = |name: &str| asked.iter().any(|path| path.ends_with(&format!("/{name}.noarch.rpm")));
    assert!(
        came("libibverbs-48.0-1") && came("perftest-4.5-1") && came("infiniband-diags-48.0-1"),
        "{asked:?}"
    );
    // Locked in the image, and nobody asks for it by name.
    assert!(!came("test-pciutils-4.0-1") && !came("kernel-7-1"), "{asked:?} {staged:?}");
}

#[test]
fn a_tdnf_that_cannot_be_asked_is_stood_in_for_and_that_is_said() {
    // Under this name dnf is in the root, which knows as little of `--json` as tdnf before 3.3.
    let repository = Repository::of(&stack());
    let root = MARINER2.root();
    root.write(FILE, &repository.file(""));
    root.write("etc/ofedctl/config.yaml", "driver: inbox\n");
    let cache = root.beside("cache");
    let staged = image::stage(&root, &cache);
    staged.expect(0, "staged");
    assert!(staged.stderr.contains("it is older than 3.3, or another program; dnf stands in"), "{staged:?}");
    image::bake(&root, &cache).expect(0, "installed");
}

/// What was asked, and what was said to it: packages by name, for their order is nobody's.
fn transcript(root: &Root, questions: &[&str]) -> String {
    let mut text = String::new();
    for question in questions {
        let words: Vec<&str> = question.split(' ').collect();
        let ran = root.inside(&words);
        let said = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().trim().replace("\n\n", "\n");
        let mut stdout = said(&ran.stdout);
        if let Ok(mut answer) = serde_json::from_str::<serde_json::Value>(&stdout) {
            let lists = answer.as_object_mut().into_iter().flat_map(|it| it.values_mut());
            for list in lists.filter_map(|it| it.as_array_mut()) {
                list.sort_by_key(|it| it["Name"].to_string());
            }
            // A repository without a name, for packages that are named as files.
            answer.as_array_mut().into_iter().for_each(|it| it.retain(|one| one["Repo"] != "@cmdline"));
            stdout = answer.to_string();
        }
        let _ = writeln!(
            text,
            "$ {question}\n{stdout}\n{}\n= {}\n",
            said(&ran.stderr),
            ran.status.code().unwrap()
        );
    }
    text
}

#[test]
fn what_answers_like_tdnf_answers_as_tdnf_did() {
    let of_kernel = |version, requires| Rpm::plain("mods", version, requires);
    let mut rpms = stack();
    rpms.extend([
        Rpm::plain("kernel", "6", ""),
        of_kernel("1", "kernel = 6-1"),
        of_kernel("2", "kernel = 7-1"),
        Rpm::plain("broken", "1", "nothere"),
        Rpm::plain("test-pciutils", "4.0", ""),
    ]);
    let repository = Repository::of(&rpms);
    let root = root();
    give(&root, &Rpm::plain("test-pciutils", "3.7", ""));
    repository.copy_into(&root, FILE);
    let there = transcript(
        &root,
        &[
            "tdnf --json repolist",
            "tdnf -y makecache",
            "tdnf -C --json --assumeno install rdma-core perftest",
            "tdnf -C --json --assumeno install test-pciutils unasked",
            "tdnf -C --json --assumeno install mods-1-1 kernel",
            "tdnf -C --json --assumeno install zz unasked",
            "tdnf -C --json --assumeno install broken",
            "tdnf -C --repoid=test reposync --urls",
        ],
    );
    root.write(FILE, "[gone]\nname=Gone\nbaseurl=http://127.0.0.1:1\nenabled=1\n");
    let gone = transcript(&root, &["tdnf -y makecache"]);
    root.write(FILE, "[gone]\nname=Gone\nbaseurl=http://127.0.0.1:1\nenabled=1\nskip_if_unavailable=1\n");
    let passed_over = transcript(&root, &["tdnf -y makecache"]);
    let retries = |line: &&str| !line.starts_with("retrying ");
    let said = [there, gone, passed_over].concat();
    let said: String = said.lines().filter(retries).flat_map(|line| [line, "\n"]).collect();
    let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tdnf/3.6.0.txt");
    if tdnf_program::real().is_some() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, &said).unwrap();
    }
    assert_eq!(said, std::fs::read_to_string(place).unwrap());
}
