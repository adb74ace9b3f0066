//! Staging by the image's own dnf, in the image: its variables, plugins and settings count, and this machine's do not.

use crate::bake::stack;
use crate::common::image;
use crate::common::still::Still;
use crate::common::web::Web;
use crate::packages::{Key, Repository, index};
use crate::roots::{ALMA8, SLES15};
use nix::mount::{MsFlags, mount};

/// A plugin of the kind that clouds ship: it knows where the repositories are, and the repository files do not. (SUSE's
/// `susecloud` and Red Hat's `rhui` plugins rewrite addresses like this.)
const PLUGIN: &str = r#"
import dnf

class Test(dnf.Plugin):
    name = "test"

    def config(self):
        with open("/etc/dnf/plugins/test.conf") as file:
            address = [line.split("=")[1].strip() for line in file if line.startswith("address")][0]
        for repo in self.base.repos.iter_enabled():
            repo.baseurl = [url.replace("http://known-to-the-plugin.invalid", address) for url in repo.baseurl]
"#;

/// Lays another configuration over this machine's own dnf, for this test alone: it breaks whoever reads it.
fn poison() -> tempfile::TempDir {
    let folder = crate::common::scratch();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("dnf.conf", "[main]\nproxy=http://127.0.0.1:9\nexcludepkgs=*\n");
    write("vars/rltype", "-poison\n");
    write("plugins/test.conf", "[main]\naddress=http://127.0.0.1:9\n");
    mount(Some(folder.path()), "/etc/dnf", None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    folder
}

#[test]
fn variables_that_are_empty_and_plugins_mean_what_they_mean_in_the_image() {
    let repository = Repository::of(&stack());
    let root = ALMA8.root();
    // Stock Rocky has this file, with one empty line.
    root.write("etc/dnf/vars/rltype", "\n");
    root.write(
        "etc/yum.repos.d/rocky.repo",
        "[baseos]\nname=x\nbaseurl=http://known-to-the-plugin.invalid$rltype/\nenabled=1\ngpgcheck=0\n",
    );
    root.write("usr/lib/python3/dist-packages/dnf-plugins/test.py", PLUGIN);
    root.write(
        "etc/dnf/plugins/test.conf",
        &format!("[main]\nenabled=1\naddress={}\n", repository.web.address()),
    );
    root.write("etc/ofedctl/config.yaml", "driver: inbox\n");
    let _poison = poison();
    let before = Still::of(root.path());
    let cache = root.beside("cache");
    let staged = image::stage(&root, &cache);
    staged.expect(0, "staged");
    assert!(
        staged.stderr.contains("asking the target's dnf") && !staged.stderr.contains("stands in"),
        "{staged:?}"
    );
    before.assert_same(root.path());
    image::bake(&root, &cache).expect(0, "installed");
}

#[test]
fn a_repository_inside_the_image_is_read_there_and_its_packages_come_from_there() {
    let repository = Repository::of(&stack());
    let root = ALMA8.root();
    repository.copy_into(&root, "etc/yum.repos.d/local.repo");
    root.write("etc/ofedctl/config.yaml", "driver: inbox\n");
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    assert!(repository.web.requests().is_empty());
    // Unsigned, and only what lies in the first image says that it is right.
    let other = ALMA8.root();
    other.write("etc/yum.repos.d/local.repo", &root.read("etc/yum.repos.d/local.repo"));
    other.write("etc/ofedctl/config.yaml", "driver: inbox\n");
    image::bake(&other, &cache).expect(14, "cache-missing");
    image::bake(&root, &cache).expect(0, "installed");
}

#[test]
fn a_key_that_the_images_rpm_knows_vouches_where_the_file_that_a_repository_names_is_not_there() {
    // AlmaLinux/raspberry-pi 19: `gpgkey` names a file of another name; `rpm --import` helped. konflux-ci/docs 429: none is
    // named. zypper also wants the index signed.
    for (identity, place, line) in [
        (ALMA8, "etc/yum.repos.d", "gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-AlmaLinux"),
        (SLES15, "etc/zypp/repos.d", ""),
    ] {
        let key = Key::new();
        let folder = crate::common::scratch();
        for rpm in stack() {
            rpm.build(folder.path());
        }
        key.sign(folder.path());
        index(folder.path());
        key.sign_index(folder.path());
        let web = Web::serve(folder.path());
        let root = identity.root();
        let repository = format!("[a]\nname=a\nbaseurl={}\ngpgcheck=1\n{line}\n", web.address());
        root.write(&format!("{place}/a.repo"), &repository);
        root.write("etc/ofedctl/config.yaml", "driver: inbox\n");
        let cache = root.beside("cache");
        image::stage(&root, &cache).expect(14, "repository-key");
        root.write("var/key.asc", &key.public());
        let imported = root.inside(&["rpm", "--import", "/var/key.asc"]);
        assert!(imported.status.success(), "{imported:?}");
        image::stage(&root, &cache).expect(0, "staged");
    }
}

/// The packages themselves are not signed: the index is, which has their digests.
#[test]
fn an_index_that_has_to_be_signed_is_taken_by_the_key_that_its_repository_names_and_vouches_for_its_packages()
{
    let (right, wrong) = (Key::new(), Key::new());
    let repository = Repository::of(&stack());
    let root = ALMA8.root();
    let line = "repo_gpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/KEY-$releasever";
    root.write("etc/yum.repos.d/a.repo", &repository.file(line));
    root.write("etc/ofedctl/config.yaml", "{driver: inbox, trust: signed}\n");
    let stage = || image::stage(&root, &root.beside("cache"));
    root.write("etc/pki/rpm-gpg/KEY-8", &right.public());
    stage().expect(14, "repository-key");
    wrong.sign_index(repository.folder());
    stage().expect(14, "repository-key");
    right.sign_index(repository.folder());
    stage().expect(0, "staged");
}

#[test]
fn packages_that_no_key_vouches_for_are_named_and_recorded_unless_settings_ask_for_more() {
    let repository = Repository::of(&stack());
    let root = ALMA8.root();
    root.write("etc/yum.repos.d/a.repo", &repository.file(""));
    root.write("etc/ofedctl/config.d/tests.yaml", "driver: inbox\n");
    let staged = image::stage(&root, &root.beside("cache"));
    staged.expect(0, "staged");
    assert!(staged.stderr.contains("no key vouches for the packages of"), "{staged:?}");
    assert_eq!(staged.json()["bundle"]["config"]["unsigned"].as_array().unwrap().len(), 1, "{staged:?}");
    root.write("etc/ofedctl/config.d/tests.yaml", "driver: inbox\ntrust: signed\n");
    let refused = image::stage(&root, &root.beside("cache"));
    refused.expect(14, "repository-key");
    assert!(refused.stderr.contains("`trust`"), "{refused:?}");
}
