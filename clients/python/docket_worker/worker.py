"""The worker's side of the protocol.

    due job ──► thread runs it ──► outcome ──receipt──► forgotten
                     └── told to drop: stopped, nothing is reported

Everything is held from its receipt on the stream to the receipt of its outcome, and each heartbeat lists all of it: what
is not listed is given to others. Functions run on threads of their own, so that one that computes or blocks holds up no
heartbeat. One lock guards what is held; no call is made under it.

| thread | does |
|---|---|
| that of `run` | heartbeats, and the order of stopping |
| stream | takes jobs and cancellations; reconnects |
| reports | hands outcomes in until each has a receipt |
| one per job | calls the kind's function |
"""

import logging
import queue
import random
import signal
import threading
import time
import uuid
from typing import Callable, Mapping

import grpc
from docket.schedule.v1 import worker_service_pb2 as pb
from docket.schedule.v1.worker_service_pb2_grpc import WorkerServiceStub

from .job import Job, Stop, stopped

log = logging.getLogger("docket_worker")

# What passes by itself is tried again after these pauses, jittered; what does not, every minute.
FIRST_PAUSE_S, LONGEST_PAUSE_S, REFUSED_PAUSE_S = 0.1, 5, 60
HELLO_S = 10
CALL_S = 10
# A report has at most 4 + 4 + 16 KiB, a message 4 MiB.
REPORTS_PER_CALL = 100
# After the time of a drain: for functions to stop, then for their outcomes to be handed in.
STOP_S, HAND_IN_S = 5, 5
# Until the first welcome names the right ones.
LEASE_S, HEARTBEAT_S = 15, 5
REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
}
CHANNEL = [
    # By default a channel waits up to two minutes before it connects again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


class Worker:
    """Runs `functions` by kind for the scheduler at `target`, HOST:PORT.

    `drain_s` is how long functions may go on after SIGTERM; with STOP_S and HAND_IN_S it should stay within what
    the process is given. `on_receipt(job, receipt)` is called for each receipt.
    """

    def __init__(
        self,
        target: str,
        functions: Mapping[str, Callable[[Job], dict | None]],
        worker_id: str,
        slots: int = 4,
        drain_s: float = 15,
        on_receipt: Callable[[Job, pb.Receipt], None] = lambda job, receipt: None,
    ):
        self.functions, self.worker_id, self.slots, self.drain_s = functions, worker_id, slots, drain_s
        self.on_receipt = on_receipt
        self.instance = uuid.uuid4().hex
        self._stub = WorkerServiceStub(grpc.insecure_channel(target, CHANNEL))
        self._lock = threading.Lock()
        self._held: dict[tuple[str, int], Job] = {}
        # Whose functions still run although they are not held any more: each takes a slot.
        self._stray: set[Job] = set()
        self._session, self._epoch, self._received = "", 0, 0
        self._lease_s, self._heartbeat_s = LEASE_S, HEARTBEAT_S
        # When the call was sent whose answer renewed the leases last.
        self._renewed = time.monotonic()
        self._stream = None
        self._drain_until: float | None = None
        self._left = False
        # Wakes the heartbeats. Unlike a lock it may be used in a handler of a signal.
        self._wake: queue.SimpleQueue = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue = queue.SimpleQueue()

    def run(self) -> None:
        """Until it has drained, which SIGTERM and `drain` begin. On the main thread."""
        signal.signal(signal.SIGTERM, lambda *_: self.drain())
        for loop in (self._stream_loop, self._report_loop):
            threading.Thread(target=loop, daemon=True).start()
        while not self._left:
            pause = self._heartbeat()
            if time.monotonic() - self._renewed > self._lease_s:
                self._stop_all(Stop.LEASE_UNSURE)
            self._stop_in_order()
            try:
                self._wake.get(timeout=pause)
            except queue.Empty:
                pass
        if self._stream is not None:
            self._stream.cancel()

    def drain(self, within_s: float | None = None) -> None:
        """Takes nothing new, lets functions end for `drain_s`, then stops them and hands them back."""
        if self._drain_until is None:
            self._drain_until = time.monotonic() + min(within_s or self.drain_s, self.drain_s)
            self._wake.put(None)

    # Heartbeats

    def _heartbeat(self) -> float:
        """Sends one. Returns when to send the next, in seconds."""
        draining = self._drain_until is not None
        with self._lock:
            if not self._session:
                self._left = draining
                return self._heartbeat_s
            carried = {key: job.saved[0] for key, job in self._held.items()}
            request = pb.HeartbeatRequest(
                worker_id=self.worker_id,
                session_id=self._session,
                epoch=self._epoch,
                received=self._received,
                slots=max(0, self.slots - len(self._stray)),
                draining=draining,
                held=[job.held() for job in self._held.values()],
            )
        sent = time.monotonic()
        try:
            answer = self._stub.Heartbeat(request, timeout=self._heartbeat_s)
        except grpc.RpcError as error:
            log.warning("heartbeat: %s", error.code())
            self._left = draining and not self._held
            return jittered(min(1, self._heartbeat_s / 5))
        return self._answered(request, answer, sent, carried)

    def _answered(self, request, answer, sent, carried) -> float:
        if answer.epoch < self._epoch:
            return self._heartbeat_s
        self._obey(answer.orders)
        if answer.reopen:
            # Of a stream that was opened since, this says nothing.
            if request.session_id == self._session and self._stream is not None:
                self._stream.cancel()
            return self._heartbeat_s
        with self._lock:
            self._renewed = max(self._renewed, sent)
            for key, version in carried.items():
                if key in self._held:
                    self._held[key].confirmed = version
            if request.draining and not answer.assigned and not self._held:
                self._left = True
        next_s = answer.next.ToTimedelta().total_seconds() or self._heartbeat_s
        return min(next_s, 0.2) if request.draining else next_s

    def _stop_in_order(self) -> None:
        if self._drain_until is None:
            return
        over = time.monotonic() - self._drain_until
        if over > 0:
            self._stop_all(Stop.DRAINING)
        if over > STOP_S:
            with self._lock:
                running = [job for job in self._held.values() if job.outcome is None]
            for job in running:
                self._ended(job, failed(job, Stop.ABANDONED))
        if over > STOP_S + HAND_IN_S:
            log.warning("leaving with outcomes that nobody took")
            self._left = True

    # The stream

    def _stream_loop(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._left:
            try:
                if self._read_stream():
                    pause = FIRST_PAUSE_S
            except grpc.RpcError as error:
                if error.code() in REFUSED:
                    log.error("the scheduler refuses this worker: %s", error.details())
                    pause = REFUSED_PAUSE_S
                else:
                    log.warning("stream: %s %s", error.code(), error.details())
            time.sleep(jittered(pause))
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def _read_stream(self) -> bool:
        """Opens one and takes what comes, until it ends. Returns whether there was a welcome."""
        with self._lock:
            hello = pb.StreamDueJobsRequest(
                worker_id=self.worker_id,
                instance=self.instance,
                slots=self.slots,
                kinds=list(self.functions),
                held=[job.held() for job in self._held.values()],
                draining=self._drain_until is not None,
            )
        sent = time.monotonic()
        self._stream = stream = self._stub.StreamDueJobs(hello)
        late = threading.Timer(HELLO_S, stream.cancel)
        late.start()
        welcome = False
        try:
            for message in stream:
                late.cancel()
                if message.HasField("welcome"):
                    welcome = self._welcome(message, sent)
                    if not welcome:
                        break
                elif message.HasField("due_jobs"):
                    self._take(message)
                elif message.HasField("cancel"):
                    self._told(message.cancel.run_id, message.cancel.attempt, Stop.CANCELLED)
                elif message.HasField("drain"):
                    self.drain(message.drain.within.ToTimedelta().total_seconds())
                with self._lock:
                    self._received = message.sequence
        except grpc.RpcError as error:
            if not welcome:
                raise
            log.warning("stream: %s %s", error.code(), error.details())
        finally:
            late.cancel()
            stream.cancel()
        return welcome

    def _welcome(self, message, sent) -> bool:
        welcome = message.welcome
        with self._lock:
            if welcome.epoch < self._epoch:
                log.warning("epoch %s is over: %s was seen", welcome.epoch, self._epoch)
                return False
            if welcome.epoch > self._epoch:
                for job in self._held.values():
                    job.confirmed = 0
            self._session, self._epoch, self._received = welcome.session_id, welcome.epoch, message.sequence
            self._lease_s = welcome.lease.ToTimedelta().total_seconds()
            self._heartbeat_s = welcome.heartbeat.ToTimedelta().total_seconds()
            self._renewed = max(self._renewed, sent)
        self._obey(welcome.orders)
        self._wake.put(None)
        return True

    def _take(self, message) -> None:
        """What is held has to hold them before `received` says so."""
        with self._lock:
            fresh = [Job(due) for due in message.due_jobs.jobs if (due.run_id, due.attempt) not in self._held]
            self._held.update((job.key, job) for job in fresh)
        for job in fresh:
            if self._drain_until is not None:
                self._ended(job, failed(job, Stop.DRAINING))
            else:
                threading.Thread(target=self._perform, args=[job], daemon=True).start()

    # Jobs

    def _perform(self, job: Job) -> None:
        report = job.perform(self.functions[job.due.task.kind])
        with self._lock:
            self._stray.discard(job)
            if self._held.get(job.key) is not job:
                return
        self._ended(job, report)

    def _ended(self, job: Job, report: pb.Report) -> None:
        with self._lock:
            if job.outcome is not None:
                return
            job.outcome = report
        self._outcomes.put(job)

    def _obey(self, orders) -> None:
        for order in orders:
            cancel = order.action == pb.ORDER_ACTION_CANCEL
            self._told(order.run_id, order.attempt, Stop.CANCELLED if cancel else Stop.DROPPED)

    def _told(self, run_id: str, attempt: int, why: Stop) -> None:
        with self._lock:
            job = self._held.get((run_id, attempt))
            if job is None:
                return
            if why is Stop.DROPPED:
                del self._held[job.key]
                if job.outcome is None:
                    self._stray.add(job)
        log.info("run %s attempt %s: %s", run_id, attempt, why.name)
        job.stop(why)

    def _stop_all(self, why: Stop) -> None:
        with self._lock:
            jobs = list(self._held.values())
        for job in jobs:
            job.stop(why)

    # Reports

    def _report_loop(self) -> None:
        pause = FIRST_PAUSE_S
        waiting: list[Job] = []
        while True:
            if not waiting:
                waiting.append(self._outcomes.get())
            while len(waiting) < REPORTS_PER_CALL and not self._outcomes.empty():
                waiting.append(self._outcomes.get())
            if self._report(waiting):
                waiting, pause = [], FIRST_PAUSE_S
                if self._drain_until is not None:
                    self._wake.put(None)
            else:
                time.sleep(jittered(pause))
                pause = min(pause * 2, LONGEST_PAUSE_S)

    def _report(self, jobs: list[Job]) -> bool:
        """Whether each has its receipt. If not, all are sent again: a repeat is safe."""
        with self._lock:
            jobs = [job for job in jobs if self._held.get(job.key) is job]
        if not jobs:
            return True
        request = pb.ReportResultsRequest(
            worker_id=self.worker_id,
            session_id=self._session,
            epoch=self._epoch,
            reports=[job.outcome for job in jobs],
        )
        try:
            receipts = self._stub.ReportResults(request, timeout=CALL_S).receipts
        except grpc.RpcError as error:
            log.warning("report: %s", error.code())
            return False
        if len(receipts) != len(jobs):
            return False
        for job, receipt in zip(jobs, receipts):
            with self._lock:
                self._held.pop(job.key, None)
            if receipt.status != pb.RECEIPT_STATUS_ACCEPTED:
                # STALE: somebody else has the run. What was done is done twice then, and counts once.
                status = pb.ReceiptStatus.Name(receipt.status)
                log.warning("run %s attempt %s: %s %s", *job.key, status, receipt.reason)
            self.on_receipt(job, receipt)
        return True


def failed(job: Job, why: Stop) -> pb.Report:
    run_id, attempt = job.key
    return pb.Report(run_id=run_id, attempt=attempt, lease_token=job.due.lease_token, failure=stopped(why))


def jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1.5)
