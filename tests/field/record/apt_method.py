#!/usr/bin/python3
"""A transport for apt that fetches nothing and writes down what it is asked for: in the place of apt's `http`, `https` and
`gpgv`, whose messages it speaks (libapt-pkg-doc, method.html). Into the file `said` beside it."""

import glob
import hashlib
import os
import sys

INDEX = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: {}\n" \
    "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n"
# What of the settings says how a source is reached.
WAYS = ("Acquire::http::", "Acquire::https::", "APT::Default-Release")


def messages():
    """Each message as its fields; a value may go on in lines that begin with a blank."""
    fields = []
    for line in sys.stdin:
        line = line.rstrip("\n")
        if line.startswith(" ") and fields:
            fields[-1] = (fields[-1][0], fields[-1][1] + "\n" + line)
        elif line:
            name, _, value = line.partition(": ")
            fields.append((name, value))
        elif fields:
            yield fields
            fields = []


def say(line):
    with open(os.path.join(os.path.dirname(sys.argv[0]), "said"), "a", encoding="utf-8") as said:
        said.write(line + "\n")


def digest(path):
    if not os.path.isfile(path):
        return "missing"
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:12]


def folder(config, key):
    """The digests of the files in a folder that apt's settings name."""
    at = os.path.join(config.get("Dir", "/"), config.get("Dir::Etc", "etc/apt"), config.get("Dir::Etc::" + key, ""))
    return " ".join(sorted(digest(path) for path in glob.glob(at + "/*")))


def keys(config, value):
    if "-----BEGIN" in value:
        return hashlib.sha256("".join(value.split()).encode()).hexdigest()[:12]
    named = [digest(key) if key.startswith("/") else key for key in value.replace(",", " ").split()]
    return " ".join(named) or "of the system " + folder(config, "trustedparts")


def main():
    kind = os.path.basename(sys.argv[0])
    print("100 Capabilities\nVersion: 1.2\nSend-Config: true\n", flush=True)
    config = {}
    for (head, _), *fields in messages():
        if head.startswith("601"):
            for item in (value for name, value in fields if name == "Config-Item"):
                name, _, value = item.partition("=")
                config[name] = value
                if name.startswith(WAYS) and value:
                    say(f"setting {name} {digest(value) if value.startswith('/') else value}")
            say("pins " + folder(config, "preferencesparts"))
            say("logins " + folder(config, "netrcparts"))
        if not head.startswith("600"):
            continue
        asked = dict(fields)
        if kind == "gpgv":
            with open(asked["Filename"], encoding="utf-8") as file:
                origin = file.read().partition("Origin: ")[2].partition("\n")[0]
            say(f"signed {origin} by {keys(config, asked.get('Signed-By', ''))}")
            print(f"400 URI Failure\nURI: {asked['URI']}\nMessage: nothing is checked here\n", flush=True)
            continue
        say(f"address {asked['URI']}")
        with open(asked["Filename"], "w", encoding="utf-8") as file:
            size = file.write(INDEX.format(asked["URI"]))
        print(f"201 URI Done\nURI: {asked['URI']}\nFilename: {asked['Filename']}\nSize: {size}\n", flush=True)


main()
