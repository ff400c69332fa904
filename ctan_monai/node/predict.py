"""Predict: a quiet study becomes jobs, and each job a process that runs the bundle's ``inferring``."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from ctan_monai.errors import CtanError, DataError
from ctan_monai.files.json_files import read_json, write_json
from ctan_monai.node import jobs
from ctan_monai.node.answers import store_answers
from ctan_monai.node.incoming import make_private
from ctan_monai.node.journal import Journal
from ctan_monai.node.settings import NodeSettings, Rule
from ctan_monai.node.studies import hash_of, quiet_studies, take
from ctan_monai.node.work import EXIT_FULL, EXIT_REFUSED, full_disk
from ctan_monai.node.worker import Worker

_logger = logging.getLogger(__name__)
JOBS, ANSWERS, LOGS, KEY = "jobs", "answers", "logs", ".pseudonym.key"
_PICTURE = "overlay.png"  # of report_predictions


def take_quiet(journal: Journal, settings: NodeSettings, busy: set[str]) -> int:
    """Make jobs of the studies that have become quiet; what is decided is logged.

    Returns:
        How many studies were taken.
    """
    studies = quiet_studies(journal, time.time() - settings.quiet_s, busy)
    for study in studies:
        for each in take(journal, study, settings, time.time()):
            what = f"{each.pseudonym}: {each.count} instances of {each.modality or 'no modality'}"
            if not each.rule:
                _logger.info("%s are kept: no rule takes them", what)
            elif each.grown:
                _logger.warning("%s: the series has changed since its answer and gets a new one (%s)", what, each.rule)
            else:
                _logger.info("%s wait to be predicted (%s)", what, each.rule)
    return len(studies)


class Predictor:
    """Worker that makes predictions one after the other.

    Args:
        journal: of the node.
        settings: of the node.
        stopping: set when the node ends.
        made: called when answers are ready to be sent.
    """

    def __init__(self, journal: Journal, settings: NodeSettings, stopping: threading.Event, made: Any) -> None:
        self.journal, self.settings, self.stopping, self._made = journal, settings, stopping, made
        self._current: jobs.Job | None = None
        self._worker = Worker(stopping, settings.job_minutes)
        self._weights: dict[Path, tuple[tuple[int, int], str]] = {}

    def close(self) -> None:
        """End the process that predicts."""
        self._worker.end()

    def work(self) -> bool:
        """Make the next prediction; returns False if none waits."""
        if self._current is not None:  # the disk was full
            jobs.put_back(self.journal, self._current)
        job = self._current = jobs.start_next(self.journal, time.time())
        if job is None:
            self._worker.warm_up()
            return False
        rule = next((each for each in self.settings.rules if each.name == job.rule), None)
        if rule is None:
            self._fail(job, f"the settings have no rule {job.rule} any more.")
            return True
        place = (self.settings.folder / JOBS / str(job.id)).absolute()
        shutil.rmtree(place, ignore_errors=True)
        try:
            self._predict(job, rule, place)
        except CtanError as error:
            if full_disk(error):
                raise OSError(errno.ENOSPC, f"the disk is full; job {job.id} waits") from error
            self._fail(job, str(getattr(error, "reason", error)))
        except Exception as error:
            if full_disk(error):
                raise
            self._crash(job, f"an unexpected {type(error).__name__} occurred")  # its text may quote a data set
        finally:
            shutil.rmtree(place, ignore_errors=True)
        self._current = None
        return True

    def _predict(self, job: jobs.Job, rule: Rule, place: Path) -> None:
        _logger.info("%s: job %d, %d instances, starts (%s)", job.pseudonym, job.id, len(job.inputs), rule.name)
        began = time.monotonic()
        inputs, weights = self._lay_out(job, rule, place), self._weights_of(rule)
        code, reason = self._worker.run(place / "job.json")
        if self.stopping.is_set() and code != 0:
            jobs.put_back(self.journal, job)
            return
        if code == EXIT_FULL:
            raise OSError(errno.ENOSPC, f"the disk is full; job {job.id} waits")
        if code != 0:
            self._fail(job, reason) if code == EXIT_REFUSED else self._crash(job, reason.rstrip("."))
            return
        if self._weights_of(rule) != weights:
            _logger.warning("%s: job %d starts again, as the weights were replaced meanwhile", job.pseudonym, job.id)
            jobs.put_back(self.journal, job)
            return
        folder = self.settings.folder
        seed = f"{hash_of([uid for uid, _ in job.inputs])} {weights}"
        into = folder / ANSWERS / str(job.id)
        answers = store_answers(place / "out", into, folder, inputs, seed)
        self._keep_picture(place / "out", into)
        note = "; ".join(_problems(place / "out"))
        jobs.finish(self.journal, job, answers, rule.send_to, note, time.time())
        kinds = ", ".join(answer.kind for answer in answers)
        _logger.info("%s: job %d is done in %.1f s: %s", job.pseudonym, job.id, time.monotonic() - began, kinds)
        if note:
            _logger.warning("%s: not written: %s", job.pseudonym, note)
        self._made()

    def _lay_out(self, job: jobs.Job, rule: Rule, place: Path) -> list[Path]:
        """Make the job's folder with its instances as they are now."""
        for folder in (place, place / "in", place / "cache"):
            make_private(folder)
        inputs = []
        for number, (_, file) in enumerate(job.inputs):
            inputs.append(place / "in" / f"{number:05d}.dcm")
            try:
                os.link(self.settings.folder / file, inputs[-1])
            except FileNotFoundError as error:
                raise DataError(file, None, "a received instance is missing on the disk.", "Send it again.") from error
            except OSError:  # a file system without hard links
                shutil.copyfile(self.settings.folder / file, inputs[-1])
        shutil.copyfile(self.settings.folder / KEY, place / "cache" / KEY)  # pseudonyms are the node's
        options = {
            **rule.options, "bundle_root": str(rule.bundle), "run_dir": str(rule.run), "input": str(place / "in"),
            "output_dir": str(place / "out"), "cache_dir": str(place / "cache"),
        }  # fmt: skip
        config = str(rule.bundle / "configs" / "inference.yaml")
        logs = self.settings.folder / LOGS
        make_private(logs)
        log = str((logs / f"{job.id}.txt").absolute())
        write_json({"config": config, "options": options, "log": log}, place / "job.json")
        return inputs

    def _weights_of(self, rule: Rule) -> str:
        """Hash the weights of a run; a file is read again when it has changed."""
        file = rule.run / "model.pt"
        now = file.stat()
        state = (now.st_mtime_ns, now.st_size)
        if self._weights.get(file, (None, ""))[0] != state:
            self._weights[file] = (state, hashlib.sha256(file.read_bytes()).hexdigest())
        return self._weights[file][1]

    def _keep_picture(self, output: Path, into: Path) -> None:
        """Keep a picture of the answer for the page, where the bundle draws one."""
        pictures = sorted(output.rglob(_PICTURE))
        if pictures:
            shutil.copyfile(pictures[0], into / "picture.png")

    def _fail(self, job: jobs.Job, reason: str) -> None:
        jobs.fail(self.journal, job, reason, time.time())
        _logger.error("%s: job %d cannot be predicted: %s", job.pseudonym, job.id, reason)

    def _crash(self, job: jobs.Job, reason: str) -> None:
        again = jobs.crash(self.journal, job, f"{reason};", time.time())
        words = "it is tried again" if again else "it is given up"
        _logger.error("%s: job %d broke down: %s; %s", job.pseudonym, job.id, reason, words)


def _problems(output: Path) -> list[str]:
    """Return what could not be written, as the bundle's table says."""
    cases = (read_json(output / "written.json") or {}).get("cases", [])
    return [str(problem) for case in cases for problem in case.get("problems", [])]
