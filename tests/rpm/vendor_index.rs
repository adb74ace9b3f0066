//! A vendor's folder whose index is hostile. The vendor signs packages, and no index; and what the target's manager finds in
//! one this program may not find. So each index here is first shown to real dnf as it is, which finds a package in it that
//! nobody signed, and then as this program hands it on.

use crate::common::need::need;
use crate::packages::{Key, Rpm, index};
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use ofedctl::host::fs::Root;
use ofedctl::outcome::Reason;
use ofedctl::packages::rpm_folder::{self, RpmFolder};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Works in `RPMS`, with `$evil`, the path of a package that nobody signed, and its own index in `evil`.
const HEAD: &str = "set -e; cd \"$1\"/top/RPMS; evil=$1/top/evil; d=repodata\n\
    lines() { grep -v '^</*metadata\\|^<?xml' | sed \"s,href=\\\"evil,$1evil,\"; }\n\
    more() { zcat $d/primary.xml.gz | sed '$d'; zcat $evil/repodata/primary.xml.gz | lines \"$1\"; echo '</metadata>'; }\n\
    place() { gzip >p; mv p $d/primary.xml.gz; list; }\n\
    part() { printf '<data type=\"%s\"><checksum type=\"sha256\">%s</checksum><location href=\"%s\"/></data>' \
    $1 $(sha256sum $2 | cut -d' ' -f1) $2; }\n\
    list() { { printf '<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">'; part primary $d/primary.xml.gz; \
    printf '%s</repomd>' \"$1\"; } >$d/repomd.xml; }\n";

/// How an index leads to the other package: what is done, and whether dnf of this machine is misled by it. The two others
/// are read by other managers.
const HOSTILE: [(&str, &str, bool); 11] = [
    ("above the folder", "more 'href=\"../evil/' | place", true),
    ("by an address", "more \"href=\\\"file://$evil/\" | place", true),
    ("by a base", "more \"xml:base=\\\"file://$evil\\\" href=\\\"\" | place", true),
    ("escaped", "more 'href=\"%2e%2e/evil/' | place", true),
    ("by a link", "ln -s ../evil/evil-1-1.noarch.rpm l.rpm; rm l.rpm; more 'href=\"../evil/' | place", true),
    (
        "by an entity",
        "more 'href=\"\\&up;/' | sed '1s,.*,<!DOCTYPE metadata [<!ENTITY up \"../evil\">]>,' | place",
        true,
    ),
    ("as CDATA", "more 'href=\"../evil/' | sed 's,<name>evil,<name><![CDATA[evil]]>,' | place", true),
    (
        "beside a comment",
        "more 'href=\"../evil/' | sed 's,<name>evil,<!-- </package> --><name>evil,' | place",
        true,
    ),
    ("in another encoding", "more 'href=\"../evil/' | sed '1s,.*,,' | iconv -t UTF-16 | place", true),
    (
        "in a second primary",
        "more 'href=\"../evil/' | gzip >$d/2-primary.xml.gz; list \"$(part primary $d/2-primary.xml.gz)\"",
        false,
    ),
    (
        "in a database",
        "createrepo_c -q --database $evil; cp $evil/repodata/*-primary.sqlite.bz2 $d/primary.sqlite.bz2; \
         list \"$(part primary_db $d/primary.sqlite.bz2)\"",
        false,
    ),
];

/// A vendor's archive, unpacked: two signed packages in a folder, and one beside it that nobody signed.
fn archive(key: &Key) -> tempfile::TempDir {
    need(&["dnf", "rpm", "createrepo-c", "zypper"]);
    let top = crate::common::scratch();
    let folder = |name: &str| {
        let folder = top.path().join("top").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let (rpms, evil) = (folder("RPMS"), folder("evil"));
    Rpm { head: "Provides: virtual = 2:3-4", ..Rpm::plain("a", "1", "b > 0, /usr/share/made-by-tests/b") }
        .build(&rpms);
    Rpm { post: ":", ..Rpm::plain("b", "2", "") }.build(&rpms);
    Rpm::plain("evil", "1", "").build(&evil);
    key.sign(&rpms);
    for folder in [rpms, evil] {
        let make = ["--quiet", "--no-database", "--simple-md-filenames", "--general-compress-type=gz"];
        assert!(Command::new("createrepo_c").args(make).arg(folder).status().unwrap().success());
    }
    top
}

fn gathered(archive: &Path, key: &Key) -> anyhow::Result<RpmFolder> {
    let host = Host::open(Path::new("/"), Events::silent(), Cancel::never()).unwrap();
    let root = Root::open(archive).unwrap();
    rpm_folder::gather(&host, &root, "/top/RPMS", "/top.checked", key.public().as_bytes())
}

/// What dnf finds in a folder: name and address of each package.
fn by_dnf(folder: &Path) -> Vec<String> {
    let scratch = crate::common::scratch();
    let mut dnf = Command::new("dnf");
    dnf.args(["--quiet", "--repo=v", "--setopt=reposdir=/none", "--setopt=gpgcheck=0"]);
    dnf.arg(format!("--repofrompath=v,file://{}", folder.display()));
    dnf.arg(format!("--installroot={}", scratch.path().display())).arg("--releasever=8");
    dnf.arg(format!("--setopt=cachedir={}", scratch.path().join("cache").display()));
    let asked = dnf.args(["repoquery", "--queryformat", "%{name} %{location}"]).output().unwrap();
    String::from_utf8(asked.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The names that zypper finds in a folder.
fn by_zypper(folder: &Path) -> Vec<String> {
    let scratch = crate::common::scratch();
    let zypper = |args: &[&str]| {
        let mut zypper = Command::new("zypper");
        zypper.arg("--root").arg(scratch.path()).args(["--non-interactive", "--no-gpg-checks", "--xmlout"]);
        String::from_utf8(zypper.args(args).output().unwrap().stdout).unwrap()
    };
    zypper(&["addrepo", "--no-gpgcheck", &format!("file://{}", folder.display()), "v"]);
    zypper(&["refresh"]);
    let found = zypper(&["search", "--details"]);
    let named = |line: &str| Some(line.split("name=\"").nth(1)?.split('"').next()?.to_owned());
    found.lines().filter(|line| line.contains("<solvable ")).filter_map(named).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_manager_finds_the_checked_packages_and_nothing_else_whatever_the_vendors_index_says() {
    let key = Key::new();
    let made = archive(&key);
    for (kind, script, misleads) in HOSTILE {
        let archive = crate::common::scratch();
        let copy = Command::new("cp").arg("-a").arg(made.path().join("top")).arg(archive.path()).status();
        assert!(copy.unwrap().success());
        let script = format!("{HEAD}{script}");
        let changed = Command::new("sh").args(["-c", &script, "sh"]).arg(archive.path()).output().unwrap();
        assert!(changed.status.success(), "{kind}: {changed:?}");
        let vendors = by_dnf(&archive.path().join("top/RPMS"));
        let is_there = vendors.iter().any(|line| line.starts_with("evil "));
        assert_eq!(is_there, misleads, "{kind}: {vendors:?}");

        let folder = gathered(archive.path(), &key).unwrap();
        assert!(folder.signer.is_some_and(|signer| !signer.is_weak), "{kind}");
        let ours = archive.path().join("top.checked");
        assert_eq!(by_dnf(&ours), ["a a-1-1.noarch.rpm", "b b-2-1.noarch.rpm"], "{kind}");
        assert_eq!(names(&ours), ["a-1-1.noarch.rpm", "b-2-1.noarch.rpm", "repodata"], "{kind}");
        assert_eq!(
            names(&ours.join("repodata")),
            ["filelists.xml.gz", "other.xml.gz", "primary.xml.gz", "repomd.xml"]
        );
        if kind == HOSTILE[0].0 {
            assert_eq!(by_zypper(&ours), ["a", "b"]);
        }
    }
}

/// The relations that dnf reads in an index, of all its packages.
fn relations(folder: &Path) -> Vec<String> {
    let scratch = crate::common::scratch();
    let ask = |what: &str| {
        let mut dnf = Command::new("dnf");
        dnf.args(["--quiet", "--repo=v", "--setopt=reposdir=/none", "--releasever=8"]);
        dnf.arg(format!("--repofrompath=v,file://{}", folder.display()));
        dnf.arg(format!("--installroot={}", scratch.path().display()));
        dnf.arg(format!("--setopt=cachedir={}", scratch.path().join("cache").display()));
        let asked = dnf.args(["repoquery", what]).output().unwrap();
        String::from_utf8(asked.stdout)
            .unwrap()
            .lines()
            .map(|line| format!("{what} {line}"))
            .collect::<Vec<_>>()
    };
    let all = ["--provides", "--requires", "--conflicts", "--obsoletes", "--list"].map(ask).concat();
    all.into_iter().filter(|line| !line.contains("rpmlib(")).collect()
}

#[test]
fn what_packages_need_and_bring_is_read_as_createrepo_reads_it() {
    let key = Key::new();
    let made = crate::common::scratch();
    let rpms = made.path().join("top/RPMS");
    std::fs::create_dir_all(&rpms).unwrap();
    Rpm {
        head: "Epoch: 3\nProvides: virtual = 2:3-4, of(any)(64bit)\nObsoletes: old < 2\nConflicts: other <= 1:1~rc-1\n\
            Requires(post): /bin/sh\nRequires: (b or c)\nRequires: b >= 2",
        release: "1.rhel8u10",
        post: ":",
        files: vec![("/etc/a.conf", "a"), ("/usr/lib/a+b", "b")],
        ..Rpm::plain("a", "1", "")
    }
    .build(&rpms);
    Rpm::plain("b", "2", "").build(&rpms);
    key.sign(&rpms);
    index(&rpms);
    gathered(made.path(), &key).unwrap();
    let ours = relations(&made.path().join("top.checked"));
    assert_eq!(ours, relations(&rpms));
    assert!(ours.len() > 12, "{ours:?}");
}

#[test]
fn every_package_file_of_the_folder_has_to_be_signed_by_one_key_whether_or_not_the_index_names_it() {
    let (key, other) = (Key::new(), Key::new());
    let made = archive(&key);
    let rpms = made.path().join("top/RPMS");
    let evil = made.path().join("top/evil/evil-1-1.noarch.rpm");
    let signer = |keys: String| {
        let host = Host::open(Path::new("/"), Events::silent(), Cancel::never()).unwrap();
        let root = Root::open(made.path()).unwrap();
        rpm_folder::gather(&host, &root, "/top/RPMS", "/top.checked", keys.as_bytes()).unwrap().signer
    };
    assert!(signer(key.public()).is_some());
    assert!(signer(other.public()).is_none());
    // Not in the index: in a folder below, and as a link.
    let places: [PathBuf; 2] = [rpms.join("more/evil.rpm"), rpms.join("evil.rpm")];
    std::fs::create_dir(rpms.join("more")).unwrap();
    for (number, place) in places.iter().enumerate() {
        match number {
            0 => drop(std::fs::copy(&evil, place).unwrap()),
            _ => std::os::unix::fs::symlink("../evil/evil-1-1.noarch.rpm", place).unwrap(),
        }
        assert!(signer(key.public()).is_none(), "{}", place.display());
        std::fs::remove_file(place).unwrap();
    }
    // An archive brings its own file of keys, with the key of whoever made it beside the vendor's.
    let both = key.public() + &other.public();
    assert_eq!(signer(both.clone()), signer(key.public()));
    other.sign(&made.path().join("top/evil"));
    std::fs::copy(&evil, &places[1]).unwrap();
    assert!(signer(both).is_none(), "two keys signed");
}

#[test]
fn what_is_no_package_is_refused_and_not_read_as_a_list_of_others() {
    let key = Key::new();
    let made = archive(&key);
    let rpms = made.path().join("top/RPMS");
    std::fs::write(rpms.join("list.rpm"), format!("{}\n", rpms.join("a-1-1.noarch.rpm").display())).unwrap();
    let error = gathered(made.path(), &key).unwrap_err();
    assert_eq!(Reason::from_error(&error), Reason::WrongPackage, "{error:#}");
    std::fs::remove_file(rpms.join("list.rpm")).unwrap();
    std::fs::copy(rpms.join("a-1-1.noarch.rpm"), rpms.join("[a]*.rpm")).unwrap();
    let error = gathered(made.path(), &key).unwrap_err();
    assert!(error.to_string().contains("[a]*.rpm"), "{error:#}");
}
