"""Runs the agent's own extension code through the goal states of a scenario, as its main loop would.

Prints one line of JSON for each: the status the agent uploaded in the end. Used as `drive.py SCENARIO`, in a VM's root.
"""
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fabric import Fabric, WIRE

import azurelinuxagent.common.conf as conf
import azurelinuxagent.common.event as event
import azurelinuxagent.common.logger as logger
from azurelinuxagent.common.protocol.wire import WireProtocol
from azurelinuxagent.ga.collect_telemetry_events import _ProcessExtensionEvents
from azurelinuxagent.ga.exthandlers import get_exthandlers_handler

PATIENCE = 240


class Sender:
    """Takes the place of the thread that would send events to the fabric."""

    def __init__(self):
        self.events = []

    def stopped(self):
        return False

    def get_thread_name(self):
        return "sender"

    def enqueue_event(self, one):
        self.events.append({parameter.name: parameter.value for parameter in one.parameters})


def boot():
    """An agent that has just been started."""
    os.environ.pop("ConfigSequenceNumber", None)
    protocol = WireProtocol(WIRE)
    protocol.detect()
    return protocol, get_exthandlers_handler(protocol)


def report(agent):
    """Lets the agent report; what it calls its reason for that has another name since 2.8."""
    call = agent.report_ext_handlers_status
    names = call.__code__.co_varnames
    call(**{"incarnation_changed" if "incarnation_changed" in names else "goal_state_changed": True})


def handlers(status):
    return (status or {}).get("aggregateStatus", {}).get("handlerAggregateStatus", [])


def is_terminal(status):
    """Whether the platform would wait no longer."""
    def ended(handler):
        settings = (handler.get("runtimeSettingsStatus") or {}).get("settingsStatus") or {}
        state = settings.get("status", {}).get("status")
        return state in ("success", "error") or (state is None and handler["status"] != "Installing")

    return status is not None and all(ended(handler) for handler in handlers(status))


def has_worker():
    """Whether the handler's worker has still something to write down after it has said how it ended."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as line:
                if b"extension\0worker\0" in line.read():
                    return True
        except OSError:
            continue
    return False


def main():
    with open(sys.argv[1]) as text:
        scenario = json.load(text)
    conf.load_conf_from_file("/etc/waagent.conf")
    os.makedirs(conf.get_lib_dir(), mode=0o700, exist_ok=True)
    os.makedirs(os.path.join(conf.get_lib_dir(), "events"), mode=0o700, exist_ok=True)
    logger.add_logger_appender(logger.AppenderType.FILE, logger.LogLevel.INFO, path="/var/log/waagent.log")
    event.init_event_logger(os.path.join(conf.get_lib_dir(), "events"))
    event.init_event_status(conf.get_lib_dir())
    fabric = Fabric(scenario.get("compute"))
    sender = Sender()
    protocol, agent = None, None
    for step in scenario["steps"]:
        fabric.set_goal(step["extensions"])
        started = time.time()
        if protocol is None or step.get("restart"):
            protocol, agent = boot()
        else:
            # Since agent 2.15 it is the client that knows the goal state.
            (protocol if hasattr(protocol, "update_goal_state") else protocol.client).update_goal_state()
        agent.run()
        ran = time.time() - started
        seen = []
        while True:
            report(agent)
            for handler in handlers(fabric.status):
                said = ((handler.get("runtimeSettingsStatus") or {}).get("settingsStatus") or {}).get("status", {})
                if not seen or seen[-1] != said.get("status"):
                    seen.append(said.get("status"))
            if is_terminal(fabric.status) or step.get("once") or time.time() - started > PATIENCE:
                break
            time.sleep(0.1)
        while not step.get("once") and has_worker() and time.time() - started <= PATIENCE:
            time.sleep(0.05)
        report(agent)
        if step.get("events"):
            _ProcessExtensionEvents(sender)._operation()
        print(json.dumps({"status": fabric.status, "seconds": ran, "seen": seen, "events": sender.events}), flush=True)


main()
