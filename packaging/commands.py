#!/usr/bin/env python3
"""Prints every command of the program, one a line, as its own help lists them: commands.py PROGRAM"""

import re
import subprocess
import sys


def below(words):
    shown = subprocess.run([sys.argv[1], *words, "--help"], capture_output=True, text=True, check=True).stdout
    _, _, listed = shown.partition("\nCommands:\n")
    return re.findall(r"^  ([a-z-]+)", listed.partition("\n\n")[0], re.MULTILINE)


for name in below([]):
    print(name)
    for verb in below([name]):
        print(name, verb)
