"""Real processes for tests, on loopback and a folder of their own."""

import email
import email.utils
import os
import pathlib
import queue
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import grpc

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent.parent
BINARIES = ROOT / os.environ.get("DOCKET_BIN", "target/debug")
# For a process to say what is waited for.
PATIENCE_S = 60


def quiet_port() -> int:
    """A free port that nobody gets who asks for any: Linux gives those from 32768 on."""
    while True:
        port = random.randint(10_000, 31_999)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


class Process:
    """What it prints is its signals: tests wait for lines."""

    def __init__(self, command, folder, settings=()):
        folder.mkdir(parents=True, exist_ok=True)
        env = {key: value for key, value in os.environ.items() if not key.startswith("DOCKET_")}
        self.lines: queue.Queue = queue.Queue()
        self.log: list[str] = []
        self._child = subprocess.Popen(
            command, cwd=folder, env=env | dict(settings), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with self._child.stdout as lines:
            for line in lines:
                self.log.append(line)
                self.lines.put(line.strip())
        self.lines.put(None)

    def until(self, text: str) -> str:
        """The next line that holds `text`."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                line = self.lines.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no line with `{text}`:\n{''.join(self.log)}")
            if text in line:
                return line

    def signal(self, number) -> None:
        self._child.send_signal(number)

    def wait(self) -> int:
        return self._child.wait(PATIENCE_S)

    def kill(self) -> None:
        """kill -9, and waits until it is gone."""
        self._child.kill()
        self._child.wait()


class Services:
    """Starts services on one folder. `close` kills them and removes it."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="docket-"))
        self._processes: list[Process] = []

    def start(self, command, folder, settings=()) -> Process:
        process = Process(command, self.folder / folder, settings)
        self._processes.append(process)
        return process

    def service(self, name, port, settings=()) -> Process:
        listen = {"DOCKET_GRPC__LISTEN": f"127.0.0.1:{port}", "DOCKET_HTTP__LISTEN": "127.0.0.1:0"}
        process = self.start([str(BINARIES / name)], name, listen | dict(settings))
        process.until("serving")
        return process

    def python(self, script, *arguments) -> Process:
        path = {"PYTHONPATH": f"{HERE.parent}:{HERE.parent / 'gen'}"}
        return self.start([sys.executable, "-u", str(script), *map(str, arguments)], "python", path)

    def mails(self, name) -> None:
        """The sample mails of `name`, as a folder mailbox finds them."""
        to = self.folder / "mail" / name
        shutil.copytree(ROOT / "tests/fixtures/mails" / name, to)
        # A file's time is when its mail was received.
        for file in to.iterdir():
            date = email.message_from_bytes(file.read_bytes())["Date"]
            os.utime(file, (email.utils.parsedate_to_datetime(date).timestamp(),) * 2)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
        shutil.rmtree(self.folder)


def channel(port) -> grpc.Channel:
    return grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_reconnect_backoff_ms", 500)])
