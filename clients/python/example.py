"""A worker for the kind `count-lines`: counts the lines of a big file, and goes on where an attempt before it stopped.

    PYTHONPATH=gen python3 example.py 127.0.0.1:7310 counter-1
"""

import logging
import sys

from docket_worker import Failed, Job, Worker

PIECE = 1 << 20


def count_lines(job: Job) -> dict:
    offset, lines = (int(part) for part in (job.checkpoint or b"0 0").split())
    try:
        file = open(job.args["path"], "rb")
    except KeyError:
        raise Failed("PERMANENT", "NO_PATH", "name the file in task.args.path")
    except FileNotFoundError:
        raise Failed("PERMANENT", "NO_FILE", "there is no such file")
    with file:
        file.seek(offset)
        while piece := file.read(PIECE):
            offset, lines = offset + len(piece), lines + piece.count(b"\n")
            job.save(f"{offset} {lines}".encode())
            job.progress(offset, note=f"{lines} lines")
            job.check()
    return {"lines": lines, "bytes": offset}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    target, worker_id = sys.argv[1:]
    Worker(target, {"count-lines": count_lines}, worker_id).run()
