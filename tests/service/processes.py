"""The programs as a user starts them: processes of their own, stopped by signals."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

START_S_MAX = 30
STOP_S_MAX = 30
WITH_SIGINT = (
    "import os, signal, sys; signal.signal(signal.SIGINT, int(sys.argv[1]));"
    " os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)
"""Replaces itself by a Python program that inherits what is to happen on SIGINT."""
PORT_FIRST = 20_000
PORTS = 12_000


class Program:
    """A running `collector` command whose output is collected."""

    def __init__(
        self,
        arguments: list[str],
        environ: Mapping[str, str],
        sigint: signal.Handlers | None = None,
        folder: Path | None = None,
    ) -> None:
        inherit = [] if sigint is None else ["-c", WITH_SIGINT, str(sigint.value)]
        self.process = subprocess.Popen(
            [sys.executable, *inherit, "-m", "collector", *arguments],
            env={**bare_environ(), **environ},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def wait_for_line(self, pattern: str) -> re.Match[str]:
        """Wait until a line of the output matches."""
        deadline = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if match := re.search(pattern, line):
                    return match
            assert self.process.poll() is None, "".join(self.lines)
            time.sleep(0.01)
        raise AssertionError(f"no line like {pattern!r} in: {''.join(self.lines)}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and give the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(STOP_S_MAX)
        self._reader.join(5)
        return status

    def stop_impatiently(self, number: int) -> int:
        """Send a signal again and again until the process is gone, and give the exit status."""
        while self.process.poll() is None:
            self.process.send_signal(number)
            time.sleep(0.01)
        return self.stop(number)


def free_port() -> int:
    """
    A port for a program that has to be told one.

    Not one of those that the kernel chooses, which begin at 32768: between this call and its use, the kernel
    could give it to any other program on the machine, such as a second run of the tests.
    """
    while True:
        port = PORT_FIRST + secrets.randbelow(PORTS)
        with socket.socket() as taken, suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port


def bare_environ() -> dict[str, str]:
    """This process's environment without anything that configures the collector."""
    names = ("KALSHI_", "RL_", "ORDERBOOK_", "DATABASE_", "HOST", "PORT")
    return {name: value for name, value in os.environ.items() if not name.startswith(names)}


@contextmanager
def program(
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    sigint: signal.Handlers | None = None,
    folder: Path | None = None,
) -> Generator[Program]:
    """
    Run a command for the time of the block; what is still running then is killed.

    `sigint` is what it inherits for SIGINT: SIG_DFL in the foreground of a terminal, SIG_IGN in the
    background of a script. Without it, what this process has inherited itself. `folder` is one with another
    build of the program.
    """
    running = Program(list(arguments), environ or {}, sigint, folder)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
        if running.process.stdout is not None:
            running._reader.join(5)
            running.process.stdout.close()


def read_env_file(path: Path) -> dict[str, str]:
    """What a shell makes of a file of variables."""
    shell = subprocess.run(
        ["/bin/sh", "-c", f"set -a; . '{path}'; env -0"], capture_output=True, check=True, env={}, text=True
    )
    pairs = (entry.split("=", 1) for entry in shell.stdout.split("\0") if entry)
    return {name: value for name, value in pairs if name.startswith(("KALSHI_", "RL_"))}
