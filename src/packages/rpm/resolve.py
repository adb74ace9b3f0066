"""Asks dnf's own library what a target would have to fetch, and prints it as one line of JSON.

Everything it reads and writes lies in one private folder; no plugin is loaded. Speaks the API of dnf 4.
"""

import fnmatch
import json
import os
import sys

import dnf
import dnf.rpm
import rpm

# rpm looks for its database in one of these, and in the one its configuration on this machine names.
DATABASES = ("/var/lib/rpm", "/usr/lib/sysimage/rpm")
# Where a distribution keeps its own keys, for repositories that name none.
OWN_KEYS = ("/etc/pki/rpm-gpg", "/usr/lib/rpm/gnupg/keys")
CERTIFICATES = ("sslcacert", "sslclientcert", "sslclientkey")


def place_database(root, database):
    for path in {*DATABASES, rpm.expandMacro("%{_dbpath}")}:
        path = root + path
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(database, path)


def configured(question):
    base = dnf.Base()
    conf = base.conf
    if question["main"]:
        conf.config_file_path = question["main"]
        conf.read(question["main"])
    root = question["root"]
    place_database(root, question["database"])
    conf.installroot = root
    conf.reposdir = [question["repositories"]]
    conf.cachedir = os.path.join(question["scratch"], "cache")
    conf.persistdir = os.path.join(question["scratch"], "persist")
    conf.logdir = question["scratch"]
    conf.plugins = False
    conf.assumeyes = True
    conf.install_weak_deps = False
    if conf.arch != question["arch"]:
        conf.arch = question["arch"]
        conf.ignorearch = True
    found = dnf.rpm.detect_releasever(root) if question["has_database"] else None
    conf.substitutions["releasever"] = found or question["releasever"]
    conf.substitutions.update(question["variables"])
    base.read_all_repos()
    return base


def prepare_repositories(base, question):
    """What a repository's settings name lies in the target, not on this machine."""
    conf = base.conf
    wanted = question["packages"]
    # What is asked for by name is not hidden, as `exclude=kernel*` would hide a kernel-devel.
    shown = lambda pattern: not any(fnmatch.fnmatch(name, pattern) for name in wanted)
    conf.excludepkgs = [pattern for pattern in conf.excludepkgs if shown(pattern)]
    for repo in base.repos.iter_enabled():
        repo.excludepkgs = [pattern for pattern in repo.excludepkgs if shown(pattern)]
        for name in CERTIFICATES:
            copied = question["root"] + (getattr(repo, name) or "/")
            if os.path.isfile(copied):
                setattr(repo, name, copied)
        repo.gpgkey = [
            "file://" + question["root"] + key[len("file://"):] if key.startswith("file:///") else key
            for key in repo.gpgkey
        ]


def answer(base):
    base.resolve()
    packages = sorted(base.transaction.install_set)
    # A repository with a login of its own is read with that login, by dnf.
    private = [p for p in packages if p.repo.sslclientcert or p.repo.username]
    base.download_packages(private)
    listed = []
    for package in packages:
        kind, digest = package.returnIdSum()
        listed.append({
            "name": str(package),
            "file": os.path.basename(package.location),
            "url": "file:" + package.localPkg() if package in private else package.remote_location(),
            "size": package.downloadsize,
            "digest_kind": kind,
            "digest": digest,
            "signed": bool(package.repo.gpgcheck),
        })
    used = {package.repo.id: package.repo for package in packages if package.repo.gpgcheck}
    keys = {key for repo in used.values() for key in list(repo.gpgkey) or own_keys(base.conf.installroot)}
    return {"packages": listed, "keys": sorted(keys), "proxy": base.conf.proxy or None}


def own_keys(root):
    folders = [root + folder for folder in OWN_KEYS if os.path.isdir(root + folder)]
    return ["file://" + os.path.join(folder, name) for folder in folders for name in os.listdir(folder)]


def main():
    question = json.loads(sys.argv[1])
    try:
        base = configured(question)
        prepare_repositories(base, question)
        base.fill_sack(load_system_repo=True)
        if question["has_database"] and not base.sack.query().installed():
            raise dnf.exceptions.Error("rpm of this machine cannot read the target's rpm database")
        base.install_specs(question["packages"])
        print(json.dumps(answer(base)))
    except dnf.exceptions.Error as error:
        sys.exit(str(error) or type(error).__name__)


main()
