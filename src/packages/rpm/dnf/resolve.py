"""Asks dnf's own library what a target would have to fetch, and prints it as one line of JSON.

As the stand-in for a target's manager, all it reads and writes lies in one private folder, and no plugin is loaded. Inside
the target it reads what the target's dnf reads, and plugins are loaded. Speaks the API of dnf 4.
"""

import fnmatch
import hashlib
import json
import logging
import os
import re
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
# The repository of the packages in the vendor's file.
VENDOR = "ofedctl-vendor"
# Beside the first one; lists of mirrors have hundreds.
MOST_MIRRORS = 5
CERTIFICATES = ("sslcacert", "sslclientcert", "sslclientkey")
# dnf's own forms of a variable since its version 4.17: what stands for one that is set, and for one that is not.
FORM = re.compile(r"\$\{(\w+):([-+])([^{}]*)\}")
# The packages that say which distribution a database is of.
RELEASES = {
    "almalinux": ("almalinux-release",),
    "azurelinux": ("azurelinux-release",),
    "centos": ("centos-release", "centos-linux-release", "centos-stream-release"),
    "fedora": ("fedora-release",),
    "mariner": ("mariner-release",),
    "ol": ("oraclelinux-release",),
    "rhel": ("redhat-release", "redhat-release-server", "redhat-release-eus"),
    "rocky": ("rocky-release",),
    "sles": ("sles-release", "SLES_SAP-release", "SLES-release"),
}
WAY_OUT = "stage with --root, or on such a VM"


def place_database(root, database):
    for path in {*DATABASES, rpm.expandMacro("%{_dbpath}")}:
        path = root + path
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(database, path)


def configured_inside(question):
    """As the command `dnf` configures itself, but for where it writes."""
    base = dnf.Base()
    conf = base.conf
    conf.read()
    for name in ("cache", "persist", "log"):
        setattr(conf, name + "dir", os.path.join(question["scratch"], name))
    conf.substitutions.update_from_etc("/", varsdir=conf.varsdir)
    if not conf.substitutions.get("releasever"):
        conf.substitutions["releasever"] = dnf.rpm.detect_releasever("/") or question["releasever"]
    if question["proxy"]:
        conf.proxy = question["proxy"]
    conf.assumeyes = True
    conf.install_weak_deps = False
    conf.reposdir = [*conf.reposdir, question["repositories"]]
    base.init_plugins()
    base.pre_configure_plugins()
    base.read_all_repos()
    base.configure_plugins()
    return base


def configured(question):
    base = dnf.Base()
    conf = base.conf
    # The target's manager may check signatures where dnf of this machine does not. Its settings go before that.
    conf._set_value("gpgcheck", question["checks"], dnf.conf.config.PRIO_DEFAULT)
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
    # Variables of dnf 5 and of 4.17 and later, which dnf of this machine may not have.
    major, _, minor = conf.substitutions["releasever"].partition(".")
    minor = minor or (minor_release(root) if question["has_database"] else None) or question["minor"]
    for name, value in (("releasever_major", major), ("releasever_minor", minor)):
        conf.substitutions.setdefault(name, value)
    for name in os.listdir(question["repositories"]):
        expand(os.path.join(question["repositories"], name), conf.substitutions)
    # An address that nobody answers at is no better for being asked ten times.
    conf.retries = min(conf.retries, 3)
    base.read_all_repos()
    return base


def minor_release(root):
    """What the release's package provides of it since Enterprise Linux 10, where `$releasever` is the major one alone."""
    name = "system-release(releasever_minor)"
    for package in dnf.rpm.transaction.initReadOnlyTransaction(root).dbMatch("provides", name):
        return dict(zip(package[rpm.RPMTAG_PROVIDENAME], package[rpm.RPMTAG_PROVIDEVERSION]))[name]
    return None


def expand(path, variables):
    """Writes the forms of a variable out that dnf of this machine may not know, the innermost first."""
    def value(match):
        name, sign, word = match.groups()
        there = variables.get(name)
        return (there or word) if sign == "-" else (word if there else "")

    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    while FORM.search(text):
        text = FORM.sub(value, text)
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)


def in_target(question, path):
    """Where a path of the target lies on this machine, links followed inside the target; none where it is not there."""
    parts, place, followed = path.split("/")[::-1], "", 0
    while parts:
        part = parts.pop()
        if part == "..":
            place = os.path.dirname(place)
        elif part not in ("", "."):
            here = f"{question['target'].rstrip('/')}{place.rstrip('/')}/{part}"
            if os.path.islink(here):
                followed += 1
                if followed > 40:
                    return None
                link = os.readlink(here)
                place = "" if link.startswith("/") else place
                parts += link.split("/")[::-1]
            else:
                place = f"{place.rstrip('/')}/{part}"
    found = question["target"].rstrip("/") + place
    return found if os.path.exists(found) else None


def of_target(question, repo, path):
    """The same of a path that a repository names."""
    found = in_target(question, path)
    if not found:
        raise dnf.exceptions.Error(f"{repo.id} names {path}, which is not in what was given")
    return found


def mapped(question, repo, address):
    """An address that a repository names: what is local is the target's."""
    scheme, _, rest = address.partition(":")
    if scheme in ("file", "dir"):
        return "file://" + of_target(question, repo, "/" + rest.lstrip("/"))
    if scheme not in ("http", "https", "ftp"):
        raise dnf.exceptions.Error(f"{repo.id} names {address}, which a program of the target's reads: {WAY_OUT}")
    return address


def map_addresses(question, repo):
    """Leads everything local that a repository names into the target."""
    repo.baseurl = [mapped(question, repo, address) for address in repo.baseurl]
    if repo.metalink:
        repo.metalink = mapped(question, repo, repo.metalink)
    if repo.mirrorlist and repo.mirrorlist.startswith("file:"):
        with open(mapped(question, repo, repo.mirrorlist)[len("file://"):], encoding="utf-8") as file:
            listed = [line.strip() for line in file if line.strip() and not line.startswith("#")]
        repo.mirrorlist = ""
        repo.baseurl = [mapped(question, repo, address) for address in listed]
    elif repo.mirrorlist:
        repo.mirrorlist = mapped(question, repo, repo.mirrorlist)
    for name in CERTIFICATES:
        path = getattr(repo, name)
        if path:
            setattr(repo, name, of_target(question, repo, path))
    # A key that is not there is missed only where a package must be signed by it.
    local = lambda path: "file://" + (in_target(question, path) or question["target"] + path)
    path = lambda key: "/" + key[len("file:"):].lstrip("/")
    repo.gpgkey = [local(path(key)) if key.startswith("file:") else key for key in repo.gpgkey]


def prepare_repositories(base, question):
    """What a repository's settings name lies in the target, not on this machine."""
    conf = base.conf
    wanted = [name.split(" ")[0] for name in question["packages"]]
    # What is asked for by name is not hidden, as `exclude=kernel*` would hide a kernel-devel. A name may end in a version.
    # Nor is what this program itself holds back while a vendor's driver is in place.
    names = lambda name, pattern: fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, pattern + "-[0-9]*")
    asked_for = lambda pattern: any(names(name, pattern) for name in wanted)
    shown = lambda pattern: pattern not in question["ours"] and not asked_for(pattern)
    held = [pattern for pattern in conf.excludepkgs if shown(pattern)]
    held += question["own_kernels"] if question["has_database"] else []
    conf.excludepkgs = []
    for repo in base.repos.iter_enabled():
        # What the image holds back is the distribution's; the vendor's packages are what is wanted.
        if repo.id != VENDOR:
            repo.excludepkgs = [pattern for pattern in repo.excludepkgs if shown(pattern)] + held
            if question.get("target"):
                map_addresses(question, repo)


def refuse_local_mirrors(base):
    """A list of mirrors that came from elsewhere may name what lies in the target, and it was looked for here."""
    for repo in base.repos.iter_enabled():
        for address in repo._repo.getMirrors() if repo.mirrorlist or repo.metalink else ():
            if address.partition(":")[0] not in ("http", "https", "ftp"):
                raise dnf.exceptions.Error(f"{repo.id} names {address} in its list of mirrors: {WAY_OUT}")


def keep_to_kernels(base, question):
    """Hides packages of modules that are for other kernels: each requires the very version of its own."""
    kernels = question["kernels"]
    for name in question["packages"] if kernels else ():
        bound = [(p, kernel) for p in base.sack.query().filter(name=name) for kernel in required_kernels(p, question["own_kernels"])]
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


def required_kernels(package, names):
    """The kernels, as `uname -r` prints them, without which a package cannot be installed."""
    words = [str(requirement).split() for requirement in package.requires]
    return [word[2] for word in words if len(word) == 3 and word[0] in names and word[1] == "="]


def mark(base, question):
    known = lambda name: dnf.subject.Subject(name).get_best_query(base.sack)
    headers = question["headers"]
    if headers and headers["package"] in question["packages"] and not known(headers["package"]):
        base.add_remote_rpms([headers["url"]])
    sources = [repo for repo in base.repos.iter_enabled() if repo.id != VENDOR]
    if not sources and not all(known(name) for name in question["packages"]):
        raise dnf.exceptions.Error("dnf read no package source: none is enabled in what was given")
    base.install_specs(question["packages"] + [name for name in question["wanted"] if known(name)])


def is_fetched(package):
    """Whether dnf fetched it from an address of its own, which no repository vouches for."""
    return package.reponame == hawkey.CMDLINE_REPO_NAME


def answer(base, question):
    inside = question["inside"]
    base.resolve()
    packages = sorted(base.transaction.install_set)
    fetched = [p for p in packages if is_fetched(p)]
    # A repository with a login of its own is read with that login, by dnf.
    private = [p for p in packages if not is_fetched(p) and is_private(p, base.conf, inside)]
    base.download_packages(private)
    listed = []
    for package in packages:
        here = is_fetched(package) or package in private
        kind, digest = ("sha256", sha256(package.localPkg())) if is_fetched(package) else package.returnIdSum()
        listed.append({
            "name": str(package),
            "file": os.path.basename(package.location),
            "url": "file:" + package.localPkg() if here else addresses(package)[0],
            "others": [] if here else addresses(package)[1:],
            "size": os.path.getsize(package.localPkg()) if here else package.downloadsize,
            "digest_kind": kind,
            "digest": digest,
            "signed": is_fetched(package) or bool(package.repo.gpgcheck),
            # A signed index has their digests.
            "vouched": is_fetched(package) or bool(package.repo.gpgcheck or package.repo.repo_gpgcheck),
            "repository": package.reponame,
        })
    own = own_keys(base.conf.installroot)
    used = {p.repo.id: p.repo for p in packages if not is_fetched(p) and p.repo.gpgcheck}
    keys = {key for repo in used.values() for key in list(repo.gpgkey) or own} | set(own if fetched else ())
    imported = imported_keys(base.conf.installroot) if question["has_database"] else []
    return {"packages": listed, "keys": sorted(keys), "imported": imported, "proxy": base.conf.proxy or None}


def is_private(package, conf, inside):
    """Whether dnf reaches the repository in a way that no other program knows."""
    repo = package.repo
    if repo.sslclientcert or repo.username:
        return True
    own_way = repo.sslcacert or not repo.sslverify or (repo.proxy or None) != (conf.proxy or None)
    scheme = (package.remote_location() or "").split(":")[0]
    return inside and bool(own_way or scheme not in ("http", "https", "file"))


def imported_keys(root):
    """The keys that the target's rpm trusts already."""
    text = lambda value: value.decode() if isinstance(value, bytes) else value
    found = dnf.rpm.transaction.initReadOnlyTransaction(root).dbMatch("name", "gpg-pubkey")
    return [text(header["description"]) for header in found]


def addresses(package):
    """Where a package is, and at which other mirrors."""
    places = package.repo._repo.getMirrors() or package.repo.baseurl
    scheme = lambda place: place.partition(":")[0]
    first, *others = [place for place in places if scheme(place) in ("http", "https", "ftp", "file")]
    others = [place for place in others if scheme(place) in ("http", "https")][:MOST_MIRRORS]
    return [below(place, package.location) for place in [first, *others]]


def below(place, location):
    """The address of what is in a repository. A query at the end, such as a token, stays at the end."""
    place, sign, query = place.partition("?")
    return f"{place.rstrip('/')}/{location.lstrip('/')}{sign}{query}"


def check_distribution(base, question):
    """A database of another distribution says nothing of this one."""
    installed = {package.name for package in base.sack.query().installed()}
    found = [distro for distro, names in RELEASES.items() if installed.intersection(names)]
    if found and question["distro"] in RELEASES and question["distro"] not in found:
        raise dnf.exceptions.Error(f"the rpm database is of {found[0]}, and not of {question['distro']}")


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
    # rpm warns of each index that an old database lacks, and what went wrong would drown in that.
    rpm.setVerbosity(rpm.RPMLOG_ERR)
    # A repository that is passed over is told, for what it has is then missed.
    logging.getLogger("dnf").addHandler(logging.StreamHandler(sys.stderr))
    logging.getLogger("dnf").setLevel(logging.WARNING)
    try:
        base = configured_inside(question) if question["inside"] else configured(question)
        prepare_repositories(base, question)
        base.fill_sack(load_system_repo=question["has_database"] or not question["inside"])
        if question.get("target"):
            refuse_local_mirrors(base)
        if question["has_database"] and not base.sack.query().installed():
            raise dnf.exceptions.Error(f"rpm of this machine cannot read the target's rpm database: {WAY_OUT}")
        check_distribution(base, question)
        keep_to_kernels(base, question)
        mark(base, question)
        print(json.dumps(answer(base, question)))
    except dnf.exceptions.Error as error:
        sys.exit(str(error) or type(error).__name__)


main()
