"""Runs the agent's own daemon up to the end of its RDMA part, and prints the IPv4 addresses of each interface.

Used as `address.py ADDRESS MAC`, in a VM's root: what the fabric's SharedConfig says of the VM's RDMA address, each empty
where it says nothing. Provisioning, the resource disk and the wait for late interfaces are left out.
"""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fabric
from fabric import Fabric, WIRE

import azurelinuxagent.common.conf as conf
import azurelinuxagent.common.logger as logger
import azurelinuxagent.daemon.main as daemon
from azurelinuxagent.common.protocol.wire import WireProtocol

try:
    import azurelinuxagent.pa.rdma.rdma as rdma
    rdma.RDMADeviceHandler
except (ImportError, AttributeError):
    import azurelinuxagent.common.rdma as rdma


class Ended(Exception):
    """The daemon has done what it does once."""


class Nothing:
    """Takes the place of a part of the agent that is not tried here."""

    def run(self):
        pass


class Protocol(Nothing):
    """Knows the fabric at once, where the agent would look for it."""

    def __init__(self):
        self.protocol = WireProtocol(WIRE)
        self.protocol.detect()

    def clear_protocol(self):
        pass

    def get_protocol(self, *_args, **_kwargs):
        return self.protocol


class Clock:
    """Lets no time pass between the agent's attempts."""

    def sleep(self, _seconds):
        pass


def end(_self):
    raise Ended()


def addresses():
    told = json.loads(subprocess.run(("ip", "-json", "-4", "address"), check=True, stdout=subprocess.PIPE).stdout)
    return {one["ifname"]: ["%s/%s" % (it["local"], it["prefixlen"]) for it in one["addr_info"]] for one in told}


def main():
    address, mac = sys.argv[1:3]
    said = ' rdmaIPv4Address="%s"' % address if address else ""
    said += ' rdmaMacAddress="%s"' % mac if mac else ""
    fabric.SHARED = fabric.SHARED.replace("<Deployment", '<Incarnation instance="vm"/><Instances><Instance id="vm"%s/>'
                                          "</Instances><Deployment" % said)
    conf.load_conf_from_file("/etc/waagent.conf")
    os.makedirs(conf.get_lib_dir(), mode=0o700, exist_ok=True)
    os.chdir(conf.get_lib_dir())
    logger.add_logger_appender(logger.AppenderType.FILE, logger.LogLevel.INFO, path="/var/log/waagent.log")
    Fabric(None).set_goal([])
    for part in ("get_scvmm_handler", "get_resourcedisk_handler", "get_provision_handler"):
        setattr(daemon, part, Nothing)
    daemon.get_protocol_util = Protocol
    daemon.DaemonHandler._initialize_telemetry = lambda self: None
    daemon.DaemonHandler.sleep_if_disabled = end
    rdma.time = Clock()
    try:
        daemon.get_daemon_handler().daemon()
    except Ended:
        print(json.dumps(addresses()))


main()
