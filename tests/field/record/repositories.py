"""Writes down the repositories that a program has set up in dnf's library, in the place of loading them.

As `FILE TARGET -c SCRIPT` it is the interpreter of a program that uses the library for the target in that folder; as
`dnf FILE RELEASE FOLDER …`, in threes, it reads each folder's settings as dnf does where they lie in the places of this machine's, and
as `zypper FILE RELEASE FOLDER` it asks zypper.
"""

import hashlib
import os
import subprocess
import sys
import xml.etree.ElementTree

import dnf


def digest(path):
    if not os.path.isfile(path):
        return "missing"
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:12]


def local(target, address):
    """A key: what it is of where it lies there, else its address."""
    path = address[len("file://"):] if address.startswith("file:///") else address
    return digest(path) if path.startswith("/") else address.replace(target, "")


def lines(base, target):
    for repo in base.repos.iter_enabled():
        for address in repo.baseurl:
            yield f"{repo.id} address {address.replace(target, '')}"
        for name in ("metalink", "mirrorlist", "proxy", "username"):
            if getattr(repo, name):
                yield f"{repo.id} {name} {getattr(repo, name).replace(target, '')}"
        for name in ("sslcacert", "sslclientcert", "sslclientkey"):
            if getattr(repo, name):
                yield f"{repo.id} {name} {digest(getattr(repo, name))}"
        for name in ("gpgcheck", "repo_gpgcheck", "sslverify", "priority", "cost", "module_hotfixes"):
            yield f"{repo.id} {name} {getattr(repo, name)}"
        for key in repo.gpgkey:
            yield f"{repo.id} key {local(target, key)}"
        for pattern in repo.excludepkgs:
            yield f"{repo.id} leaves out {pattern}"


def of_zypper(folder, release):
    """zypper's own list of its repositories. It has no keys in it."""
    asked = ["zypper", "--root", folder, "--releasever", release, "--xmlout", "repos", "--details"]
    silent = dict(os.environ, ZYPP_LOGFILE="/dev/null")
    said = subprocess.run(asked, stdout=subprocess.PIPE, check=True, stdin=subprocess.DEVNULL, env=silent).stdout
    for repo in xml.etree.ElementTree.fromstring(said).iter("repo"):
        if repo.get("enabled") == "1":
            yield f"{repo.get('alias')} gpgcheck {repo.get('gpgcheck') == '1'}"
            for address in repo.iter("url"):
                yield f"{repo.get('alias')} address {address.text}"


def write(file, said):
    with open(file, "w", encoding="utf-8") as out:
        out.writelines(line + "\n" for line in said)


def as_dnf(release):
    base = dnf.Base()
    for main in ("/etc/dnf/dnf.conf", "/etc/yum.conf", "/etc/tdnf/tdnf.conf"):
        if os.path.exists(main):
            base.conf.read(main)
            break
    base.conf.substitutions["releasever"] = release
    base.conf.substitutions.update_from_etc("/", varsdir=("/etc/yum/vars", "/etc/dnf/vars"))
    base.read_all_repos()
    return base


def in_its_place(folder, do):
    subprocess.run(["mount", "--bind", folder + "/etc", "/etc"], check=True)
    try:
        return list(do())
    finally:
        subprocess.run(["umount", "/etc"], check=True)


def main():
    how, file, *rest = sys.argv[1:]
    if how == "dnf":
        # In threes, in a mount namespace of their own: importing the library takes longer than all the rest.
        for said, release, folder in zip(*[iter([file, *rest])] * 3):
            write(said, in_its_place(folder, lambda: lines(as_dnf(release), "\0")))
    elif how == "zypper":
        write(file, of_zypper(rest[1], rest[0]))
    else:
        def loaded(base, **_):
            write(how, lines(base, file))
            sys.exit("nothing is loaded here")
        dnf.Base.fill_sack = loaded
        sys.argv = rest[:1]
        exec(compile(rest[1], "<string>", "exec"), {"__name__": "__main__"})


main()
