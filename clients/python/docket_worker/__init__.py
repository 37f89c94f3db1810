"""A worker for Docket in Python, by docs/worker-protocol.md.

A program names its kinds of task, with a function for each, and runs:

    def greet(job):
        return {"greeting": "hello " + job.args["name"]}

    Worker("127.0.0.1:7310", {"greet": greet}, worker_id="greeter-1").run()

Delivery is at least once, with one accepted result: a function has to bear being called twice for one run.
"""

from .job import Failed, Job, Stop, Stopped
from .worker import Worker

__all__ = ["Failed", "Job", "Stop", "Stopped", "Worker"]
