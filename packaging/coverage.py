#!/usr/bin/env python3
"""Sums up how much of the program the tests ran, without the tests' own lines: coverage.py [--least PERCENT] LCOV

LCOV is what `cargo llvm-cov report --lcov` wrote. With --least, fails and names each file that handles what comes from
outside of which less than that ran. That is meant for a run of all suites: after fewer, much is named that others run."""

import argparse
import pathlib
import re
import sys

SOURCES = pathlib.Path(__file__).resolve().parent.parent / "src"

# Where input from outside is handled, and whose it is. A name ending in `/` is a folder with all below it.
FROM_OUTSIDE = {
    "cache/": "bundles and archives that others made, and remote caches",
    "catalog/": "catalogues that settings name, and lists of releases",
    "cli/": "what users type and pipe in",
    "config.rs": "configuration files",
    "configure/": "files of an image",
    "detect/": "files of a machine",
    "doors/": "agents, cloud-init and Packer, and guests that these reach",
    "drivers/": "a vendor's files and installer",
    "edits/": "files of an image that are changed in part",
    "evidence/": "names and texts from all of these, in pages and documents",
    "facts/": "files and programs of a machine, and its metadata service",
    "host/": "servers, registries, archives, links in a root, and child programs",
    "ledger/": "receipts and journals, also those of other releases",
    "module_signing/": "keys and certificates of users, and module files",
    "packages/": "answers and databases of package managers",
    "plan_document.rs": "plans in bundles and receipts",
    "settings.rs": "settings of users",
    "settings/": "settings of users",
    "stage/": "a vendor's files, and caches",
    "status.rs": "status files, also those of other releases",
    "target.rs": "identities of distributions",
    "target/": "identities of distributions",
    "trust.rs": "addresses in settings and catalogues",
    "verify.rs": "a root that anybody may have changed since",
    "verify/": "programs of a running machine, and answers of its peer",
}

# What of that is not judged, and why.
NOT_JUDGED = {
    "drivers/inbox/": "reads nothing from outside",
    "facts/vm_size_table.rs": "made while the program is compiled",
    "host/detach.rs": "runs under systemd, in containers and emulated machines that have devices of their own",
    "packages/diagnose/table.rs": "made while the program is compiled",
}


def tests(path):
    """The lines of the module of tests that a file ends with."""
    lines = path.read_text().splitlines()
    ours = range(0)
    for number, line in enumerate(lines[:-1], 1):
        if line == "#[cfg(test)]" and lines[number].endswith("{"):
            ours = range(number, len(lines) + 1)
    return ours


def measured(lcov):
    """For each file of the program: how many of how many lines ran."""
    found = {}
    for record in pathlib.Path(lcov).read_text().split("end_of_record\n")[:-1]:
        path = pathlib.Path(re.search(r"^SF:(.*)", record, re.MULTILINE)[1])
        if SOURCES not in path.parents or re.search(r"(tests|testing)\.rs$", path.name):
            continue
        own = tests(path)
        ran = [count != "0" for line, count in re.findall(r"^DA:(\d+),(\d+)", record, re.MULTILINE) if int(line) not in own]
        if ran:
            found[str(path.relative_to(SOURCES))] = (sum(ran), len(ran))
    return found


def percent(ran, lines):
    return 100 * ran / lines


def is_in(name, place):
    return name.startswith(place) if place.endswith("/") else name == place


def too_low(files, least):
    """What is wrong with the files that handle input from outside: a line for each."""
    said = []
    for place, whose in FROM_OUTSIDE.items():
        names = [name for name in files if is_in(name, place)]
        names = [name for name in names if not any(is_in(name, other) for other in NOT_JUDGED)]
        if not names:
            said.append(f"src/{place}: nothing of it was measured; was it moved? Say so in packaging/coverage.py")
        for name in names:
            if percent(*files[name]) < least:
                said.append(f"src/{name}: {percent(*files[name]):.1f} % ran of at least {least} %; it handles {whose}")
    return said


arguments = argparse.ArgumentParser()
arguments.add_argument("--least", type=float, metavar="PERCENT")
arguments.add_argument("lcov")
given = arguments.parse_args()

files = measured(given.lcov)
for name, (ran, lines) in sorted(files.items(), key=lambda entry: percent(*entry[1])):
    print(f"{percent(ran, lines):6.1f} %  {ran:5} of {lines:5}  {name}")
ran, lines = (sum(part) for part in zip(*files.values()))
print(f"{percent(ran, lines):6.1f} %  {ran:5} of {lines:5}  all {len(files)} files")

if given.least is not None and (low := too_low(files, given.least)):
    sys.exit("\n".join(["What handles input from outside needs more tests:", *low]))
