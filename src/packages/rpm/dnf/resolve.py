"""Asks dnf's own library what a target would have to fetch, and prints it as one line of JSON.

Everything it reads and writes lies in one private folder; no plugin is loaded. Speaks the API of dnf 4.
"""

import fnmatch
import hashlib
import json
import os
import sys

import dnf
import dnf.rpm
import dnf.subject
import hawkey
import rpm

# rpm looks for its database in one of these, and in the one its configuration on this machine names.
DATABASES = ("/var/lib/rpm", "/usr/lib/sysimage/rpm")
# Where a distribution keeps its own keys, for repositories that name none.
OWN_KEYS = ("/etc/pki/rpm-gpg", "/usr/lib/rpm/gnupg/keys")
# What is a kernel itself: staging for an image brings none beside the one it has.
KERNELS = ("kernel", "kernel-core", "kernel-hwe", "kernel-uek", "kernel-uek-core", "kernel-azure", "kernel-default")
# The repository of the packages in the vendor's file.
VENDOR = "ofedctl-vendor"
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
    if question["proxy"]:
        conf.proxy = question["proxy"]
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
    wanted = [name.split(" = ")[0] for name in question["packages"]]
    # What is asked for by name is not hidden, as `exclude=kernel*` would hide a kernel-devel. A name may end in a version.
    # Nor is what this program itself holds back while a vendor's driver is in place.
    names = lambda name, pattern: fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, pattern + "-[0-9]*")
    asked_for = lambda pattern: any(names(name, pattern) for name in wanted)
    shown = lambda pattern: pattern not in question["ours"] and not asked_for(pattern)
    held = [pattern for pattern in conf.excludepkgs if shown(pattern)]
    held += KERNELS if question["has_database"] else ()
    conf.excludepkgs = []
    for repo in base.repos.iter_enabled():
        # What the image holds back is the distribution's; the vendor's packages are what is wanted.
        if repo.id != VENDOR:
            repo.excludepkgs = [pattern for pattern in repo.excludepkgs if shown(pattern)] + held
        for name in CERTIFICATES:
            copied = question["root"] + (getattr(repo, name) or "/")
            if os.path.isfile(copied):
                setattr(repo, name, copied)
        repo.gpgkey = [
            "file://" + question["root"] + key[len("file://"):] if key.startswith("file:///") else key
            for key in repo.gpgkey
        ]


def keep_to_kernels(base, question):
    """Hides packages of modules that are for other kernels: each requires the very version of its own."""
    kernels = question["kernels"]
    for name in question["packages"] if kernels else ():
        bound = [(p, kernel) for p in base.sack.query().filter(name=name) for kernel in required_kernels(p)]
        there = {kernel for _, kernel in bound}
        for kernel in kernels if bound else ():
            if kernel not in there:
                said = f"no package {name} is there for the kernel {kernel}, only for {', '.join(sorted(there))}"
                raise dnf.exceptions.Error(said)
        if bound and len(kernels) > 1:
            said = f"only one package {name} is there for the kernel {' or '.join(kernels)}: name one with --kernel"
            raise dnf.exceptions.Error(said)
        others = [p for p, kernel in bound if kernel not in kernels and p.reponame != hawkey.SYSTEM_REPO_NAME]
        base.sack.add_excludes(base.sack.query().filter(pkg=others))


def required_kernels(package):
    """The kernels, as `uname -r` prints them, without which a package cannot be installed."""
    words = [str(requirement).split() for requirement in package.requires]
    return [word[2] for word in words if len(word) == 3 and word[0] in KERNELS and word[1] == "="]


def mark(base, question):
    known = lambda name: dnf.subject.Subject(name).get_best_query(base.sack)
    headers = question["headers"]
    if headers and headers["package"] in question["packages"] and not known(headers["package"]):
        base.add_remote_rpms([headers["url"]])
    base.install_specs(question["packages"] + [name for name in question["wanted"] if known(name)])


def is_fetched(package):
    """Whether dnf fetched it from an address of its own, which no repository vouches for."""
    return package.reponame == hawkey.CMDLINE_REPO_NAME


def answer(base):
    base.resolve()
    packages = sorted(base.transaction.install_set)
    fetched = [p for p in packages if is_fetched(p)]
    # A repository with a login of its own is read with that login, by dnf.
    private = [p for p in packages if not is_fetched(p) and (p.repo.sslclientcert or p.repo.username)]
    base.download_packages(private)
    listed = []
    for package in packages:
        here = is_fetched(package) or package in private
        kind, digest = ("sha256", sha256(package.localPkg())) if is_fetched(package) else package.returnIdSum()
        listed.append({
            "name": str(package),
            "file": os.path.basename(package.location),
            "url": "file:" + package.localPkg() if here else package.remote_location(),
            "size": os.path.getsize(package.localPkg()) if here else package.downloadsize,
            "digest_kind": kind,
            "digest": digest,
            "signed": is_fetched(package) or bool(package.repo.gpgcheck),
        })
    own = own_keys(base.conf.installroot)
    used = {p.repo.id: p.repo for p in packages if not is_fetched(p) and p.repo.gpgcheck}
    keys = {key for repo in used.values() for key in list(repo.gpgkey) or own} | set(own if fetched else ())
    return {"packages": listed, "keys": sorted(keys), "proxy": base.conf.proxy or None}


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def own_keys(root):
    folders = [root + folder for folder in OWN_KEYS if os.path.isdir(root + folder)]
    return ["file://" + os.path.join(folder, name) for folder in folders for name in os.listdir(folder)]


def main():
    question = json.load(sys.stdin)
    try:
        base = configured(question)
        prepare_repositories(base, question)
        base.fill_sack(load_system_repo=True)
        if question["has_database"] and not base.sack.query().installed():
            raise dnf.exceptions.Error("rpm of this machine cannot read the target's rpm database")
        keep_to_kernels(base, question)
        mark(base, question)
        print(json.dumps(answer(base)))
    except dnf.exceptions.Error as error:
        sys.exit(str(error) or type(error).__name__)


main()
