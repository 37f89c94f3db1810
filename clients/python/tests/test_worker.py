"""A worker in Python against the real scheduler: what docs/worker-protocol.md promises and asks."""

import signal
import unittest

from docket.schedule.v1 import run_service_pb2 as runs
from docket.schedule.v1 import schedule_pb2
from docket.schedule.v1 import schedule_service_pb2 as schedules
from docket.schedule.v1 import worker_service_pb2 as workers
from docket.schedule.v1.run_service_pb2_grpc import RunServiceStub
from docket.schedule.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from docket.schedule.v1.worker_service_pb2_grpc import WorkerServiceStub
from google.protobuf import duration_pb2, json_format, struct_pb2

from tests.harness import HERE, Services, channel, quiet_port

TERM_S = 5


class WorkerTest(unittest.TestCase):
    def setUp(self):
        self.services = Services()
        self.addCleanup(self.services.close)
        self.port = quiet_port()
        self.start_scheduler()
        calls = channel(self.port)
        self.addCleanup(calls.close)
        self.schedules, self.runs, self.workers = (
            ScheduleServiceStub(calls), RunServiceStub(calls), WorkerServiceStub(calls),
        )  # fmt: skip

    def start_scheduler(self):
        settings = {"DOCKET_LEASE__TERM_MS": str(TERM_S * 1000), "DOCKET_LEASE__HEARTBEAT_MS": "1000"}
        self.scheduler = self.services.service("scheduler-svc", self.port, settings)

    def worker(self, worker_id, drain_s=10):
        return self.services.python(HERE / "stepping.py", self.port, worker_id, drain_s)

    def open(self, step):
        (self.services.folder / f"gate-{step}").touch()

    def trigger(self, kind="stepping", **args) -> str:
        gate = str(self.services.folder / "gate")
        schedule = schedule_pb2.Schedule(schedule_id="s", task=schedule_pb2.Task(kind=kind))
        schedule.every.interval.FromSeconds(86_400)
        schedule.task.args.update({"steps": 1, "gate": gate} | args)
        self.schedules.UpsertSchedule(schedules.UpsertScheduleRequest(schedule=schedule))
        request = schedules.TriggerScheduleRequest(schedule_id="s")
        return self.schedules.TriggerSchedule(request, wait_for_ready=True).run.run_id

    def run_of(self, run_id, wait_s=0):
        """The run once it is final, or after `wait_s`."""
        request = runs.GetRunRequest(run_id=run_id, wait=duration_pb2.Duration(seconds=wait_s))
        return self.runs.GetRun(request, wait_for_ready=True).run

    def assert_ends(self, run_id, state, attempts):
        run = self.run_of(run_id, 30)
        self.assertEqual(schedule_pb2.RunState.Name(run.state), f"RUN_STATE_{state}", run)
        self.assertEqual(run.attempt, attempts, run)
        return run

    def test_heartbeats_keep_the_lease_of_a_long_job_and_show_its_progress(self):
        worker = self.worker("w1")
        run_id = self.trigger(steps=2)
        worker.until("began")
        self.open(0)
        worker.until("step 0")
        # Nothing but heartbeats keeps it for two terms.
        run = self.run_of(run_id, 2 * TERM_S + 1)
        self.assertEqual(run.state, schedule_pb2.RUN_STATE_RUNNING)
        self.assertEqual((run.progress.done, run.progress.total, run.has_checkpoint), (1, 2, True))
        self.open(1)
        run = self.assert_ends(run_id, "SUCCEEDED", 1)
        self.assertEqual(json_format.MessageToDict(run.result), {"steps": 2, "began": 0})

    def test_a_cancelled_run_stops(self):
        worker = self.worker("w1")
        run_id = self.trigger()
        worker.until("began")
        self.runs.CancelRun(runs.CancelRunRequest(run_id=run_id, note="wrong file"))
        worker.until("stopped CANCELLED")
        run = self.assert_ends(run_id, "CANCELLED", 1)
        self.assertEqual(run.failure.code, "CANCELLED")

    def test_a_function_that_takes_too_long_is_stopped(self):
        worker = self.worker("w1")
        schedule = schedule_pb2.Schedule(schedule_id="s", retry=schedule_pb2.Retry(max_attempts=1))
        schedule.every.interval.FromSeconds(86_400)
        schedule.task.kind = "stepping"
        schedule.task.timeout.FromSeconds(1)
        schedule.task.args.update({"steps": 1, "gate": "/nowhere"})
        self.schedules.UpsertSchedule(schedules.UpsertScheduleRequest(schedule=schedule))
        run_id = self.schedules.TriggerSchedule(schedules.TriggerScheduleRequest(schedule_id="s")).run.run_id
        worker.until("stopped TIMEOUT")
        run = self.assert_ends(run_id, "FAILED", 1)
        self.assertEqual(run.failure.code, "ATTEMPT_TIMEOUT")

    def test_failures_keep_their_class_and_tell_no_secret(self):
        self.worker("w1")
        run = self.assert_ends(self.trigger("broken", **{"class": "PERMANENT"}), "FAILED", 1)
        self.assertEqual((run.failure.code, run.failure.message), ("BROKEN", "as asked"))
        self.assertEqual(json_format.MessageToDict(run.result), {"tries": 1})
        watch = self.runs.WatchEvents(runs.WatchEventsRequest())
        next(watch)
        run_id = self.trigger("broken")
        failure = next(e.run.failure for m in watch for e in m.events if e.run.HasField("failure"))
        self.assertEqual((failure.code, failure.message), ("EXCEPTION", "ValueError"))
        self.runs.CancelRun(runs.CancelRunRequest(run_id=run_id))

    def test_sigterm_lets_a_job_end(self):
        worker = self.worker("w1")
        run_id = self.trigger()
        worker.until("began")
        worker.signal(signal.SIGTERM)
        self.wait_until(lambda worker: worker.draining)
        self.open(0)
        worker.until("receipt 1 1")
        self.assertEqual(worker.wait(), 0)
        self.assert_ends(run_id, "SUCCEEDED", 1)

    def test_what_does_not_end_in_time_is_handed_back_with_its_checkpoint(self):
        worker = self.worker("w1", drain_s=0.5)
        run_id = self.trigger(steps=2)
        worker.until("began")
        self.open(0)
        worker.until("step 0")
        worker.signal(signal.SIGTERM)
        worker.until("stopped DRAINING")
        self.assertEqual(worker.wait(), 0)
        other = self.worker("w2")
        self.assertIn("at 1", other.until("began"))
        self.open(1)
        run = self.assert_ends(run_id, "SUCCEEDED", 2)
        self.assertEqual(run.attempts[0].failure.code, "WORKER_STOPPING")

    def test_a_killed_workers_run_goes_on_elsewhere_and_its_late_report_is_stale(self):
        worker = self.worker("w1")
        run_id = self.trigger(steps=2)
        token = int(worker.until("began").split()[3])
        self.open(0)
        worker.until("step 0")
        self.wait_until_stored(run_id)
        worker.kill()
        other = self.worker("w2")
        self.assertIn("at 1", other.until("began"))
        late = workers.Report(run_id=run_id, attempt=1, lease_token=token, success=workers.Success())
        self.assertEqual(self.receipt_of(late), workers.RECEIPT_STATUS_STALE)
        self.open(1)
        other.until("receipt 2 1")
        self.assert_ends(run_id, "SUCCEEDED", 2)

    def test_a_worker_that_slept_too_long_drops_what_others_have(self):
        worker = self.worker("w1")
        run_id = self.trigger()
        worker.until("began")
        worker.signal(signal.SIGSTOP)
        other = self.worker("w2")
        other.until("began")
        worker.signal(signal.SIGCONT)
        # It notices by its own clock, or is told.
        self.assertRegex(worker.until("stopped"), "DROPPED|LEASE_UNSURE")
        self.open(0)
        other.until("receipt 2 1")
        run = self.assert_ends(run_id, "SUCCEEDED", 2)
        self.assertEqual(run.worker_id, "w2")
        # It is well, and takes the next one.
        other.kill()
        run_id = self.trigger()
        worker.until("ended")
        self.assert_ends(run_id, "SUCCEEDED", 1)

    def test_a_restarted_scheduler_finds_jobs_where_they_were(self):
        worker = self.worker("w1")
        run_id = self.trigger(steps=2)
        worker.until("began")
        self.open(0)
        worker.until("step 0")
        self.scheduler.kill()
        # It ends while nobody is there to be told.
        self.open(1)
        worker.until("ended")
        self.start_scheduler()
        worker.until("receipt 1 1")
        self.assert_ends(run_id, "SUCCEEDED", 1)

    def test_a_restarted_scheduler_leaves_a_running_job_with_its_worker(self):
        worker = self.worker("w1")
        run_id = self.trigger()
        worker.until("began")
        self.scheduler.kill()
        self.start_scheduler()
        # Longer than a term: without heartbeats of the new session it would be lost.
        self.assertEqual(self.run_of(run_id, TERM_S + 2).state, schedule_pb2.RUN_STATE_RUNNING)
        self.open(0)
        self.assert_ends(run_id, "SUCCEEDED", 1)

    def test_the_same_report_again_is_repeated(self):
        worker = self.worker("w1")
        run_id = self.trigger()
        token = int(worker.until("began").split()[3])
        self.open(0)
        worker.until("receipt 1 1")
        result = struct_pb2.Struct()
        result.update({"steps": 1, "began": 0})
        again = workers.Report(run_id=run_id, attempt=1, lease_token=token, success=workers.Success(result=result))
        self.assertEqual(self.receipt_of(again), workers.RECEIPT_STATUS_REPEATED)

    def test_the_example_counts_lines(self):
        file = self.services.folder / "text"
        file.write_bytes(b"a line\n" * 300_000)
        self.services.python(HERE.parent / "example.py", f"127.0.0.1:{self.port}", "counter")
        run = self.assert_ends(self.trigger("count-lines", path=str(file)), "SUCCEEDED", 1)
        self.assertEqual(json_format.MessageToDict(run.result), {"lines": 300_000, "bytes": 2_100_000})
        run = self.assert_ends(self.trigger("count-lines", path="/nowhere"), "FAILED", 1)
        self.assertEqual(run.failure.code, "NO_FILE")

    def receipt_of(self, report):
        return self.workers.ReportResults(workers.ReportResultsRequest(reports=[report])).receipts[0].status

    def wait_until(self, condition):
        """Until the only worker is such."""
        while not all(condition(worker) for worker in self.workers.ListWorkers(workers.ListWorkersRequest()).workers):
            pass

    def wait_until_stored(self, run_id):
        while not self.run_of(run_id).has_checkpoint:
            pass


if __name__ == "__main__":
    unittest.main()
