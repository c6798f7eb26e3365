"""Hosts of their own on this machine: their network, process ids and clocks are apart from it.

A host has one wire, to this machine. What listens on this machine's loopback is found on the host's
own loopback, under the same port: a relay at each end of the wire passes it on.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

_RELAY = Path(__file__).with_name("relay.py")
_APART = ("unshare", "--net", "--pid", "--mount-proc", "--time", "--fork", "--kill-child")
_BOOTED_EARLIER = (
    1_000_000  # seconds; the clock since boot can be set apart, that of the wall can't
)
# A wall clock of its own, and a boot that nobody else has.
_PROGRAM = """
import sys, time
name, shift = sys.argv.pop(1), float(sys.argv.pop(1))
told = time.time
time.time = lambda: told() + shift
from incarts_pipeline import clock
clock.machine_boot_id = lambda: name
from incarts_pipeline.cli import main
main()
"""


def command(name: str, shift: float, *arguments: str) -> list[str]:
    """Return the command of an `incarts` on a host whose clock is `shift` seconds ahead."""
    return [sys.executable, "-c", _PROGRAM, name, str(shift), *arguments]


def can_be_made() -> bool:
    """Say whether this machine lets its user make hosts."""
    if any(shutil.which(program) is None for program in ("unshare", "nsenter", "ip")):
        return False
    tries = [*_APART, "ip", "link", "set", "lo", "up"]
    return os.geteuid() == 0 and not subprocess.run(tries, capture_output=True).returncode


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host: `shift` is how far its clock is ahead, in seconds, `pid` a process on it."""

    name: str
    shift: float
    pid: int
    folder: Path

    def start(self, *arguments: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start `incarts` on it, in its folder."""
        enters = ["nsenter", "-t", str(self.pid), "-n", "-p", "-m", "-T", f"--wd={self.folder}"]
        return subprocess.Popen(
            [*enters, "--", *command(self.name, self.shift, *arguments)],
            env={**os.environ, **environment},
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )


def strike(entered: subprocess.Popen[str], what: signal.Signals) -> None:
    """Send a signal to the process that was started on a host."""
    os.kill(_child_of(entered.pid), what)
    if what is signal.SIGCONT:  # whoever waits for it has stopped as well
        entered.send_signal(what)


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@contextmanager
def host(name: str, shift: float, ports: Sequence[int], folder: Path) -> Iterator[Host]:
    """Run a host that reaches some ports of this machine's loopback, while the block lasts.

    When it ends, so does all that was started on it.
    """
    (folder / name).mkdir()
    with ExitStack() as stack:
        boots = [f"--boottime={round(_BOOTED_EARLIER + shift)}"]
        stays = ["sh", "-c", "echo stays; exec cat"]  # until who started it closes its input
        pid = _child_of(stack.enter_context(_program([*_APART, *boots, *stays])))
        near = _wire(pid)
        relay, each = [sys.executable, str(_RELAY)], [str(port) for port in ports]
        stack.enter_context(_program([*relay, near, "127.0.0.1", *each]))
        stack.enter_context(_program([*_on(pid), *relay, "127.0.0.1", near, *each]))
        yield Host(name=name, shift=shift, pid=pid, folder=folder / name)


def _on(pid: int) -> list[str]:
    return ["nsenter", "-t", str(pid), "-n", "--"]


def _wire(pid: int) -> str:
    """Lay a wire from this machine to a host; return the address of its near end."""
    name = f"incarts{pid}"
    _run("ip", "link", "add", name, "type", "veth", "peer", "name", "wire", "netns", str(pid))
    number = int(Path(f"/sys/class/net/{name}/ifindex").read_text())  # no other wire has it
    near, far = (f"198.18.{number // 64}.{number % 64 * 4 + end}" for end in (1, 2))
    _run("ip", "addr", "add", f"{near}/30", "dev", name)
    _run("ip", "link", "set", name, "up")
    _run(*_on(pid), "ip", "addr", "add", f"{far}/30", "dev", "wire")
    _run(*_on(pid), "ip", "link", "set", "wire", "up")
    _run(*_on(pid), "ip", "link", "set", "lo", "up")
    return near


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stderr}"


@contextmanager
def _program(words: list[str]) -> Iterator[int]:
    """Run a program while the block lasts, which begins once it has said something."""
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
        try:
            assert one.stdout is not None
            assert one.stdout.readline(), words
            yield one.pid
        finally:
            one.kill()
