#!/usr/bin/python3
"""Answers as tdnf does where it is asked what it would install, and hands all else to dnf. No registry has tdnf. Shaped on
tdnf 3.6.0 and 3.5.8, built from vmware/tdnf and run over the same packages; what they said is in `tests/fixtures/tdnf`.
Choosing is dnf's library's."""

import glob
import hashlib
import json
import os
import re
import shutil
import sys
import urllib.error
import urllib.request

import dnf
import rpm

MAIN = "/etc/tdnf/tdnf.conf"
CACHE = "/var/cache/tdnf"
options = [word for word in sys.argv[1:] if word.startswith("-")]
words = [word for word in sys.argv[1:] if not word.startswith("-")]
is_json = "--json" in options
value = lambda name: [word.split("=", 1)[1] for word in options if word.startswith(name + "=")]


def end(error, message):
    """Each number is an exit code in its lowest byte."""
    if is_json:
        print(json.dumps({"Error": error, "ErrorMessage": message}, separators=(",", ":")), end="")
    else:
        print(f"Error({error}) : {message}", file=sys.stderr)
    sys.exit(error & 0xFF)


def say(text):
    if not is_json:
        print(text)


def configured():
    with open(MAIN, encoding="utf-8") as file:
        main = dict(re.findall(r"^(\w+)\s*=\s*(.*)$", file.read(), re.MULTILINE))
    base = dnf.Base()
    conf = base.conf
    conf.reposdir = [main.get("repodir", "/etc/yum.repos.d")]
    conf.cachedir, conf.persistdir, conf.logdir = "/var/cache/like-tdnf", "/var/cache/like-tdnf", "/var/log"
    conf.install_weak_deps, conf.best, conf.plugins = False, True, False
    conf.retries = 1
    if main.get("proxy"):
        conf.proxy = main["proxy"]
    held = main.get("excludepkgs", "").split()
    for path in glob.glob("/etc/tdnf/locks.d/*.conf"):
        with open(path, encoding="utf-8") as file:
            held += file.read().split()
    release = rpm.TransactionSet().dbMatch("name", main["distroverpkg"])
    conf.substitutions["releasever"] = next(release)["version"]
    conf.substitutions.update_from_etc("/", varsdir=("/etc/tdnf/vars",))
    base.read_all_repos()
    for repo in base.repos.iter_enabled():
        repo.excludepkgs = held
        repo.skip_if_unavailable = False
    if value("--repoid"):
        for repo in base.repos.values():
            repo.enable() if repo.id in value("--repoid") else repo.disable()
    return base


def trouble_with(repo):
    """What tdnf says of a repository that cannot be read; nothing of one that can."""
    for address in repo.baseurl:
        try:
            urllib.request.urlopen(f"{address.rstrip('/')}/repodata/repomd.xml").close()
        except urllib.error.HTTPError as error:
            print(f"Error: {error.code} when downloading {error.url}\n. Please check repo url or refresh metadata with "
                  "'tdnf makecache'.", file=sys.stderr)
            return 1622, "Invalid argument"
        except OSError:
            return 1208, "Couldn't connect to server"
    return None


def fetch(base):
    for repo in list(base.repos.iter_enabled()):
        folder = f"{CACHE}/{repo.id}-{hashlib.sha256(''.join(repo.baseurl).encode()).hexdigest()[:8]}/repodata"
        if not ("-C" in options and os.path.exists(folder)):
            say(f"Refreshing metadata for: '{repo.name}'")
            trouble = trouble_with(repo)
            if trouble:
                print("Error({}) : {}".format(*trouble), file=sys.stderr)
                print(f"Error: Failed to synchronize cache for repo '{repo.name}'", file=sys.stderr)
                if not skip_if_unavailable(repo):
                    end(*trouble)
                say(f"Disabling Repo: '{repo.name}'")
                repo.disable()
                continue
        repo.load()
        os.makedirs(folder, exist_ok=True)
        path = repo._repo.getMetadataPath("primary")
        shutil.copy(path, folder)
        shutil.copy(os.path.join(os.path.dirname(path), "repomd.xml"), folder)


def skip_if_unavailable(repo):
    text = open(repo.repofile, encoding="utf-8").read()
    section = text.split(f"[{repo.id}]", 1)[1].split("\n[", 1)[0]
    return bool(re.search(r"^skip_if_unavailable\s*=\s*(1|true)\s*$", section, re.MULTILINE | re.IGNORECASE))


def chosen(base):
    for name in words[1:]:
        if not dnf.subject.Subject(name).get_best_query(base.sack):
            print(f"{name} package not found or not installed", file=sys.stderr)
            end(1011, "No matching packages")
        base.install(name)
    try:
        base.resolve()
    except dnf.exceptions.DepsolveError as error:
        missing = re.findall(r"nothing provides .*", str(error))
        for number, line in enumerate(missing, 1):
            print(f"{number}. {line}", file=sys.stderr)
        print(f"Found {len(missing)} problem(s) while resolving", file=sys.stderr)
        end(1301, "Solv general runtime error")
    return list(base.transaction.install_set)


def main():
    command = words[0] if words else ""
    if command not in ("repolist", "makecache", "reposync") and not {"--assumeno", "--downloadonly"} & set(options):
        # As up to 3.5.9: its own release package is not the one in the roots of tests.
        if not value("--releasever"):
            end(1022, "distroverpkg config entry is set to a package that is not installed. Check /etc/tdnf/tdnf.conf")
        os.execvp("dnf", ["dnf", *sys.argv[1:]])
    base = configured()
    if command == "repolist":
        listed = [{"Repo": repo.id, "RepoName": repo.name, "Enabled": True} for repo in base.repos.iter_enabled()]
        print(json.dumps(listed, separators=(",", ":")), end="")
        return
    fetch(base)
    if command == "makecache":
        say("Metadata cache created.")
        return
    base.fill_sack(load_system_repo="auto")
    if command == "reposync":
        for package in sorted(base.sack.query().available()):
            print(package.remote_location())
        return
    packages = chosen(base)
    if "--downloadonly" in options:
        base.download_packages(packages)
        for package in packages:
            shutil.copy(package.localPkg(), value("--downloaddir")[0])
        return
    if not packages:
        return
    old = {package.name for package in base.transaction.remove_set}
    lists = {"Install": [], "Upgrade": []}
    for package in packages:
        lists["Upgrade" if package.name in old else "Install"].append({
            "Name": package.name, "Arch": package.arch, "Evr": f"{package.version}-{package.release}",
            "InstallSize": package.installsize, "Repo": package.reponame,
        })
    print(json.dumps({name: those for name, those in lists.items() if those}, separators=(",", ":")), end="")


main()
