"""A worker whose jobs go from step to step when a test lets them, and which says what happens to it.

Step n ends once the file `<args.gate>-n` exists. Of `args.steps` steps each is saved as checkpoint.
"""

import logging
import os
import sys

from docket_worker import Failed, Job, Stopped, Worker


def say(*words) -> None:
    print(*words, flush=True)


def stepping(job: Job) -> dict:
    begin = int(job.checkpoint or b"0")
    say("began", job.due.run_id, job.due.attempt, job.due.lease_token, "at", begin)
    try:
        for step in range(begin, int(job.args["steps"])):
            while not os.path.exists(f"{job.args['gate']}-{step}"):
                job.wait(0.02)
            job.save(str(step + 1).encode())
            job.progress(step + 1, int(job.args["steps"]))
            say("step", step)
    except Stopped as stopped:
        say("stopped", stopped)
        raise
    say("ended", job.due.attempt)
    return {"steps": job.args["steps"], "began": begin}


def broken(job: Job) -> dict:
    if job.args.get("class"):
        raise Failed(job.args["class"], "BROKEN", "as asked", partial_result={"tries": 1})
    raise ValueError("password=hunter2")


def receipt(job: Job, receipt) -> None:
    say("receipt", job.due.attempt, receipt.status)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    port, worker_id, drain_s = sys.argv[1:]
    functions = {"stepping": stepping, "broken": broken}
    Worker(f"127.0.0.1:{port}", functions, worker_id, drain_s=float(drain_s), on_receipt=receipt).run()
