"""ofedctl: make InfiniBand work on this VM

A cloud-init module that runs `ofedctl cloud-init run`, which does all the work.
It is for cloud-init 18.x to 26.x and Python 3.6 or newer.
"""

import json
import logging
import subprocess

LOG = logging.getLogger(__name__)

PROGRAMS = ("/usr/local/bin/ofedctl", "/usr/bin/ofedctl")
LOG_FILE = "/var/log/azure/ib-vmext-status"

# At every boot: the program knows by itself whether there is anything to do, and
# cloud-init would never run a module again that failed at the first boot.
meta = {
    "id": "cc_ofedctl",
    "name": "ofedctl",
    "title": "Make InfiniBand work on this VM",
    "description": "Installs the driver that fits this VM, from a local cache.",
    "distros": ["all"],
    "frequency": "always",
    "examples": [],
}
# Where cloud-init before 22.2 looks for the same.
frequency = "always"
distros = []


class OfedctlError(Exception):
    """What `cloud-init status --long` shows."""


def call(program, settings, args):
    """Run the program; return its exit code and what it printed."""
    command = [program, "cloud-init", "run", "--json"]
    if settings is not None:
        command += ["--settings", "/dev/stdin"]
    # Its log goes to standard error, which cloud-init keeps and shows.
    process = subprocess.Popen(
        command + [str(arg) for arg in args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    text = json.dumps(settings, default=str) if settings is not None else ""
    printed, _ = process.communicate(text.encode("utf-8"))
    return process.returncode, printed.decode("utf-8", "replace")


def run(settings, args):
    """Run the program that is there; return its exit code and what it printed."""
    for program in PROGRAMS:
        try:
            return call(program, settings, args)
        except FileNotFoundError:
            LOG.debug("%s is not there", program)
        except OSError as error:
            raise OfedctlError("%s cannot be run: %s" % (program, error))
    raise OfedctlError("there is no %s" % " and no ".join(PROGRAMS))


def outcome(printed):
    """What the program says of the run: its reason and one line."""
    try:
        result = json.loads(printed)
        reason, message = str(result["reason"]), str(result["message"])
    except (ValueError, KeyError, TypeError):
        return "unknown", ""
    # Old Pythons in a boot without a locale log nothing but ASCII.
    words = " ".join(message.encode("ascii", "replace").decode().split())
    return reason, words if len(words) <= 200 else words[:197] + "..."


# cloud-init up to 23.1 passes (name, cfg, cloud, log, args), later ones pass
# keywords. Both fit here, and it must not have five parameters in all: then
# 23.2 and later take it for one of the old kind and complain.
def handle(name, cfg, *rest, **named):
    """Run `ofedctl cloud-init run` with the settings under the key `ofedctl`."""
    args = named["args"] if "args" in named else rest[-1]
    code, printed = run(cfg.get("ofedctl"), args or [])
    reason, message = outcome(printed)
    # Without InfiniBand, where `required` does not ask for it, the code is 0, too.
    if code == 0:
        LOG.info("ofedctl: %s: %s", reason, message)
        return
    # Not more than a sentence: it becomes the error of this boot.
    raise OfedctlError(
        "ofedctl ended with %s (%s): %s; see %s" % (code, reason, message, LOG_FILE)
    )
