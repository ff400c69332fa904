"""Run a bundle's config in this process, small enough for a test."""

import json
import logging
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def keep_logging_and_hooks(monkeypatch):
    """Undo what a run sets for the whole process."""
    import sys

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


@pytest.fixture
def workflow():
    """Build the workflow of some of a bundle's config files, with options given as on the command line."""

    def build(bundle, *files, run_id="run", kind="train", **options):
        configs = ROOT / "bundles" / bundle / "configs"
        options = {"bundle_root": str(ROOT / "bundles" / bundle), **options}
        paths = [str(configs / name) for name in files]
        return ConfigWorkflow(
            paths if len(paths) > 1 else paths[0],
            meta_file=str(configs / "metadata.json"),
            logging_file=False,
            run_id=run_id,
            workflow_type=kind,
            **options,
        )

    return build


@pytest.fixture
def run(workflow):
    """Run some of a bundle's config files, and return the workflow."""

    def execute(*args, **options):
        made = workflow(*args, **options)
        made.initialize()
        made.run()
        made.finalize()
        return made

    return execute


@pytest.fixture
def two_patients(tmp_path):
    """Choose one patient of OpenKBP's sample to train on, one to validate and one to test."""
    path = tmp_path / "two.json"
    path.write_text(json.dumps({"train": ["pt_74"], "validation": ["pt_226"], "test": ["pt_232"]}))
    return path
