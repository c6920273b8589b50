"""Processes that train together notice when one of them is gone, whatever they are doing and on whatever device.

Without this a process waits for the gradient of one that was killed: on CPUs until its socket breaks, which may be in
the middle of a library's traceback, on GPUs until a limit of many minutes. Each process keeps a connection to the
first one, which passes on what it hears. The operating system closes the connection of a process that is killed; one
whose machine is gone, or that is stopped, falls silent.
"""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch.distributed.distributed_c10d import _abort_process_group

from cotag.errors import ProcessLost
from cotag.training.processes import limit_minutes, this_process

# Seconds: between two signs of life, without one until a process counts as gone, for training to end by itself when
# one is gone, and for a broken transfer to be explained by one that is.
BEAT, SILENCE, GRACE, EXPLAINED = 3.0, 45.0, 5.0, 8.0
CONNECTING = 20.0
ALIVE, DONE, FAILED, GONE = "alive", "done", "failed", "gone"


@dataclass(eq=False)
class _Line:
    """A connection to another process, line by line."""

    socket: socket.socket
    rank: int | None = None
    heard: float = field(default_factory=time.monotonic)
    rest: bytes = b""

    def send(self, *words: object) -> None:
        try:
            self.socket.send(" ".join(map(str, words)).encode() + b"\n")
        except OSError:
            # Who does not take it will fall silent, or is found gone at the next reading.
            return

    def lines(self) -> list[list[str]]:
        """What came since; EOFError where the other side is closed."""
        try:
            came = self.socket.recv(4096)
        except BlockingIOError:
            return []
        except OSError:
            came = b""
        if not came:
            raise EOFError
        self.heard = time.monotonic()
        *whole, self.rest = (self.rest + came).split(b"\n")
        return [line.decode("ascii", "replace").split() for line in whole]


class Watch(threading.Thread):
    """Notices that another process is gone; all processes make one at the same time.

    Args:
        process: this one.
        end: called with what there is to say where training does not end within ``GRACE`` seconds after that, as it
            waits for the other process.
    """

    def __init__(self, process: PartialState, end: Callable[[str], None]) -> None:
        super().__init__(name="cotag-watch", daemon=True)
        self.rank, self.processes = process.process_index, process.num_processes
        self.end = end
        self._found, self._ended = threading.Event(), threading.Event()
        self._told = ""
        self._last = DONE
        self._lines: list[_Line] = []
        self._selector = selectors.DefaultSelector()
        self._listener = _listener() if self.rank == 0 else None
        port = self._listener.getsockname()[1] if self._listener else 0
        agreed = [(port, secrets.token_hex(16))]
        broadcast_object_list(agreed)
        port, self._token = agreed[0]
        if self._listener is not None:
            self._selector.register(self._listener, selectors.EVENT_READ)
        else:
            self._connect(port)
        # A worker that decodes would keep the connections of a process that was killed open.
        os.register_at_fork(after_in_child=self._let_go)
        self.start()

    def lost(self, patience: float = 0.0) -> str:
        """What to say of a process that is gone, or that is found gone within so many seconds; empty for none."""
        self._found.wait(patience)
        return self._told

    def close(self, last: str = DONE) -> None:
        """End the watch; the others hear whether this process is done or failed."""
        self._last = last
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Until training ends."""
        beat = 0.0
        while not self._ended.is_set():
            for key, _ in self._selector.select(timeout=0.2):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._read(key.data)
            now = time.monotonic()
            if now - beat >= BEAT:
                beat = now
                for line in self._lines:
                    line.send(ALIVE)
            for line in list(self._lines):
                if now - line.heard > SILENCE:
                    self._drop(line)
                    self._lose(line.rank, GONE)
            if self._found.is_set():
                break
        self._leave()

    def _leave(self) -> None:
        """After a loss wait for the training to end, and end it if it does not; then say goodbye."""
        if self._found.is_set() and not self._ended.wait(GRACE):
            self.end(self._told)
        for line in self._lines:
            line.send(self._last, self.rank)
        self._let_go()
        self._selector.close()

    def _read(self, line: _Line) -> None:
        try:
            said = line.lines()
        except EOFError:
            self._drop(line)
            self._lose(line.rank, GONE)
            return
        for words in said:
            if line.rank is None:
                if words[:1] != [self._token] or not words[1:]:
                    self._drop(line)
                    return
                line.rank = int(words[1])
            elif words and words[0] in (FAILED, GONE):
                self._lose(int(words[1]), words[0])
            elif words and words[0] == DONE:
                self._drop(line)
                return

    def _lose(self, rank: int | None, how: str) -> None:
        if rank is None or self._found.is_set():
            return
        what = "stopped with an error, which it told itself" if how == FAILED else "is gone (killed, or its machine)"
        self._told = (
            f"process {rank} of {self.processes} {what}; this is process {rank_told(self.rank)}; go on with --resume "
            "where the run has checkpoints"
        )
        for line in self._lines:
            line.send(how, rank)
        self._found.set()

    def _accept(self) -> None:
        assert self._listener is not None
        self._add(self._listener.accept()[0])

    def _add(self, connection: socket.socket, rank: int | None = None) -> _Line:
        connection.setblocking(False)
        line = _Line(connection, rank)
        self._lines.append(line)
        self._selector.register(connection, selectors.EVENT_READ, line)
        return line

    def _connect(self, port: int) -> None:
        try:
            found = socket.create_connection((os.environ.get("MASTER_ADDR", "localhost"), port), CONNECTING)
        except OSError:
            # A closed network: what is left is the limit of the process group.
            return
        self._add(found, rank=0).send(self._token, self.rank)

    def _drop(self, line: _Line) -> None:
        self._selector.unregister(line.socket)
        line.socket.close()
        self._lines.remove(line)

    def _let_go(self) -> None:
        for line in self._lines:
            line.socket.close()
        if self._listener is not None:
            self._listener.close()


def rank_told(rank: int) -> str:
    """A process in a message."""
    return f"{rank}, the one that writes" if rank == 0 else str(rank)


def _listener() -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _abort(told: str) -> None:
    """Break off what GPUs transfer, which raises where training waits for it; on CPUs it raises by itself."""
    if "nccl" in torch.distributed.get_backend():
        _abort_process_group()


_end: Callable[[str], None] = _abort


def end_by(end: Callable[[str], None]) -> None:
    """Have a training that waits for a process that is gone ended in another way, as a program does that may exit.

    Args:
        end: takes what there is to say; called in a thread of its own.
    """
    global _end
    _end = end


@contextmanager
def watched() -> Iterator[None]:
    """Within the block the end of another process of this training is one line.

    Raises:
        ProcessLost: another process is gone or failed, or was not heard of within the limit.
    """
    process = this_process()
    if process.num_processes == 1:
        yield
        return
    watch = Watch(process, _end)
    try:
        yield
    except BaseException as error:
        broken = isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError)
        told = watch.lost(EXPLAINED) if broken else ""
        watch.close(FAILED)
        if not told and broken and "timed out" in str(error).lower():
            told = (
                f"the processes did not meet within {limit_minutes():g} minutes (COTAG_TIMEOUT_MINUTES); look at the "
                "output of the others, and go on with --resume where the run has checkpoints"
            )
        if told:
            raise ProcessLost(told) from error
        raise
    watch.close()
