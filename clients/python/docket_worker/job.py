"""What the function of a kind sees of its attempt, and what becomes of it."""

import enum
import logging
import threading
import time

from docket.schedule.v1 import failure_pb2, run_pb2, worker_service_pb2 as pb
from google.protobuf import json_format

log = logging.getLogger("docket_worker")

_CLASS = failure_pb2.FailureClass.Value


class Stop(enum.Enum):
    """Why an attempt has to stop: the class and code that are reported then."""

    CANCELLED = ("FAILURE_CLASS_CANCELLED", "CANCELLED")
    TIMEOUT = ("FAILURE_CLASS_TIMEOUT", "ATTEMPT_TIMEOUT")
    # The scheduler was not heard of for a lease's term: somebody else may have the run.
    LEASE_UNSURE = ("FAILURE_CLASS_INTERRUPTED", "LEASE_UNSURE")
    DRAINING = ("FAILURE_CLASS_INTERRUPTED", "WORKER_STOPPING")
    ABANDONED = ("FAILURE_CLASS_INTERRUPTED", "ABANDONED")
    # Somebody else has the run: nothing is reported.
    DROPPED = (None, None)


class Stopped(Exception):
    """Raised out of `Job.check` and `Job.wait`. Let it pass: the worker reports why."""


class Failed(Exception):
    """Raised by a kind's function: how its attempt failed. The class decides what follows, see docs/errors.md.

    `message` is for people, and must hold no secret. `retry_after` is in seconds. The numbers of `partial_result` are
    added to those of the next attempts.
    """

    def __init__(self, failure_class, code, message, retry_after=None, limit="", partial_result=None):
        super().__init__(f"{failure_class} {code}: {message}")
        self.failure = failure_pb2.Failure(
            **{"class": _CLASS(f"FAILURE_CLASS_{failure_class}")}, code=code, message=message, limit=limit
        )
        if retry_after is not None:
            self.failure.retry_after.FromMilliseconds(int(retry_after * 1000))
        self.partial_result = partial_result


class Job:
    """One attempt of a run. `due` is the message that it came with."""

    def __init__(self, due: pb.DueJob):
        self.due = due
        self.args = json_format.MessageToDict(due.task.args)
        # Of the last attempt that saved one; empty if none did.
        self.checkpoint = due.checkpoint
        self.stop_reason: Stop | None = None
        self.outcome: pb.Report | None = None
        self.reported_progress: run_pb2.Progress | None = None
        # Counts what was saved, from 1, and which of it the scheduler has confirmed.
        self.saved: tuple[int, bytes] = (0, b"")
        self.confirmed = 0
        self._stopped = threading.Event()
        self._deadline = time.monotonic() + due.timeout.ToTimedelta().total_seconds()

    @property
    def key(self) -> tuple[str, int]:
        return (self.due.run_id, self.due.attempt)

    def check(self) -> None:
        """Raises Stopped when the attempt has to end. Call it often: nothing else stops a function."""
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """Sleeps; as `check`, at once when it has to end meanwhile."""
        left = self._deadline - time.monotonic()
        if not self._stopped.wait(max(0, min(seconds, left))) and left <= seconds:
            self.stop(Stop.TIMEOUT)
        if self.stop_reason is not None:
            raise Stopped(self.stop_reason.name)

    def progress(self, done: int, total: int = 0, note: str = "") -> None:
        """Shown in GetRun with the next heartbeat; not stored."""
        self.reported_progress = run_pb2.Progress(done=done, total=total, note=note)

    def save(self, checkpoint: bytes) -> None:
        """Stored with the next heartbeat, at most 16 KiB, and handed to the next attempt if this one does not end well."""
        self.saved = (self.saved[0] + 1, checkpoint)

    def stop(self, why: Stop) -> None:
        """The first reason counts, except that nothing may be reported of what is somebody else's."""
        if self.stop_reason is None or why is Stop.DROPPED:
            self.stop_reason = why
        self._stopped.set()

    def held(self) -> pb.HeldRun:
        run_id, attempt = self.key
        held = pb.HeldRun(run_id=run_id, attempt=attempt, lease_token=self.due.lease_token)
        if self.reported_progress is not None:
            held.progress.CopyFrom(self.reported_progress)
        version, checkpoint = self.saved
        if version > self.confirmed:
            held.checkpoint = checkpoint
        return held

    def perform(self, function) -> pb.Report:
        """Calls the function. What became of it, as it is reported."""
        run_id, attempt = self.key
        report = pb.Report(run_id=run_id, attempt=attempt, lease_token=self.due.lease_token)
        try:
            result = function(self)
            report.success.SetInParent()
            report.success.result.update(result or {})
        except Stopped:
            report.failure.CopyFrom(stopped(self.stop_reason))
        except Failed as failed:
            report.failure.CopyFrom(failed.failure)
            report.partial_result.update(failed.partial_result or {})
        except Exception as error:
            # Its text may hold a secret; that stays in this log.
            log.exception("run %s attempt %s", run_id, attempt)
            failure = Failed("TRANSIENT", "EXCEPTION", type(error).__name__).failure
            report.failure.CopyFrom(failure)
        if report.HasField("failure") and self.saved[0] > 0:
            report.checkpoint = self.saved[1]
        return report


def stopped(why: Stop) -> failure_pb2.Failure:
    failure_class, code = why.value
    return failure_pb2.Failure(**{"class": _CLASS(failure_class or "FAILURE_CLASS_INTERRUPTED")}, code=code or "")
