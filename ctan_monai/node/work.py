"""Process that makes predictions: ``python -m ctan_monai.node.work`` runs bundles' ``inferring``, one after the other.

It reads the path of a job's JSON file from each line of its standard input, and ends with the node that started it,
when that input ends. What went wrong is left as a reason that can be shown; a fault's traceback stays in the job's log.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import sys
import threading
import traceback
from pathlib import Path

from ctan_monai.errors import DataError, explain
from ctan_monai.files.json_files import write_json

RESULT_FILE = "result.json"
EXIT_REFUSED = 3  # what cannot be predicted, and is explained
EXIT_FAULT = 4
EXIT_FULL = 5  # of the disk: the job waits until there is space


def full_disk(error: BaseException | None) -> bool:
    """Tell whether a full disk caused an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def run(job: Path) -> tuple[int, str]:
    """Run a job.

    Args:
        job: JSON file with ``config`` (the bundle's inference.yaml) and ``options``.

    Returns:
        One of the codes above, 0 for success, and the reason of a failure.
    """
    wanted = json.loads(job.read_text(encoding="utf-8"))
    try:
        from monai.bundle import run as run_bundle

        run_bundle(run_id="inferring", config_file=wanted["config"], **wanted["options"])
    except Exception as error:
        traceback.print_exc()
        if full_disk(error):
            return EXIT_FULL, "the disk is full."
        found = explain(error)
        if found is None:
            return EXIT_FAULT, f"an unexpected {type(error).__name__} occurred."
        reason, remedy = (found.reason, found.remedy) if isinstance(found, DataError) else (str(found), "")
        helps = remedy and str(job.parent) not in remedy  # what goes with the job's folder helps nobody
        return EXIT_REFUSED, f"{reason} Remedy: {remedy}" if helps else reason
    return 0, ""


def log_to(path: Path) -> None:
    """Let everything that this process prints from now on go to a file that only its owner can read."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def main() -> None:
    """Run jobs until the standard input ends."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line.strip())
        os._exit(0)  # also in the middle of a job: who started this process has ended

    threading.Thread(target=read, daemon=True).start()
    import monai.bundle  # noqa: F401  # takes seconds, and need not be waited for when a study comes

    while True:
        job = Path(lines.get())
        log_to(Path(json.loads(job.read_text(encoding="utf-8"))["log"]))
        code, reason = run(job)
        write_json({"code": code, "reason": reason}, job.parent / RESULT_FILE)


if __name__ == "__main__":
    main()
