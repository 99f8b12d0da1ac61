"""Run the project's Ansible play over SSH, and report its changes."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible_runner

from release import process
from release.paths import ROOT
from testbed.paths import STATE

PROJECT = ROOT / "ansible"
PLAYBOOK = PROJECT / "hammer.yml"


@dataclass(frozen=True)
class Play:
    """The changes that a play made."""

    changes: int
    """How many tasks changed something (or would, in check mode)."""
    changed: tuple[str, ...]
    """Names of these tasks, except those that hide their results from logs."""


def play(inventory: str, variables: Mapping[str, object], *, check: bool = False) -> Play:
    """Run the play on an inventory of ``ansible/inventories``; its output goes to the running step's log.

    With ``check``, nothing changes. Raises ``RuntimeError`` that names the task that failed.
    """
    events: list[dict[str, Any]] = []

    def record(event: dict[str, Any]) -> bool:
        if event.get("stdout"):
            process.say(event["stdout"])
        events.append({"event": event["event"], "data": event.get("event_data", {})})
        return False

    private = STATE / "ansible"
    shutil.rmtree(private, ignore_errors=True)
    private.mkdir(mode=0o700, parents=True)
    runner = ansible_runner.run(
        private_data_dir=str(private),
        project_dir=str(PROJECT),
        playbook=str(PLAYBOOK),
        inventory=str(PROJECT / "inventories" / inventory),
        extravars=dict(variables),
        cmdline="--check" if check else None,
        envvars={
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_FORCE_COLOR": "false",
            "ANSIBLE_NOCOLOR": "true",
            # ansible-playbook stands beside this Python.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        settings={"suppress_ansible_output": True},
        event_handler=record,
        quiet=True,
    )
    if runner.rc != 0:
        raise RuntimeError(_failure(events, str(runner.status)))
    return Play(changes=_changes(events), changed=tuple(_changed(events)))


def _changes(events: list[dict[str, Any]]) -> int:
    """Return the number of changes of all hosts, from the play's recapitulation."""
    (recapitulation,) = (event["data"] for event in events if event["event"] == "playbook_on_stats")
    return sum(recapitulation["changed"].values())


def _changed(events: list[dict[str, Any]]) -> list[str]:
    return [
        str(event["data"]["task"])
        for event in events
        if event["event"] == "runner_on_ok" and event["data"].get("res", {}).get("changed")
    ]


def _failure(events: list[dict[str, Any]], status: str) -> str:
    failed = [event["data"] for event in events if event["event"] in ("runner_on_failed", "runner_on_unreachable")]
    if not failed:
        return f"ansible-playbook ended as {status!r} before any task"
    result = failed[-1].get("res", {})
    reason = result.get("msg") or result.get("stderr") or result
    return f"Ansible task {failed[-1].get('task')!r}: {reason}"
