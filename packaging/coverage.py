#!/usr/bin/env python3
"""Sums up how much of the program the tests ran, without the tests' own lines: coverage.py LCOV

LCOV is what `cargo llvm-cov report --lcov` wrote."""

import pathlib
import re
import sys

SOURCES = pathlib.Path(__file__).resolve().parent.parent / "src"


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


files = measured(sys.argv[1])
for name, (ran, lines) in sorted(files.items(), key=lambda entry: percent(*entry[1])):
    print(f"{percent(ran, lines):6.1f} %  {ran:5} of {lines:5}  {name}")
ran, lines = (sum(part) for part in zip(*files.values()))
print(f"{percent(ran, lines):6.1f} %  {ran:5} of {lines:5}  all {len(files)} files")
