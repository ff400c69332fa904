"""What last.pt holds, and when it is written."""

import hashlib
import json
import subprocess
import threading
from collections import Counter

import numpy as np
import pytest
import torch
from ignite.engine import Events
from run_kit import Run, same, without_seconds

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.engines.handlers.checkpoint_handler import Checkpoint
from ctan_monai.engines.runs.run_folder import RunFolder
from ctan_monai.engines.runs.torch_file import copied, load_checked, plain, save_atomic
from ctan_monai.engines.runs.training_data import fingerprint
from ctan_monai.engines.runs.versions import source_state
from ctan_monai.errors import CheckpointError, ConfigError


def test_it_is_saved_after_everything_else_that_happens_at_an_epochs_end(tmp_path):
    run = Run(tmp_path, epochs=2)

    @run.trainer.on(Events.EPOCH_COMPLETED)  # added after the checkpoint
    def change(engine):
        with torch.no_grad():
            run.network.body[0].bias.fill_(engine.state.epoch)

    run.go()
    saved = load_checked(tmp_path / "last.pt")
    assert same(saved, plain(run.checkpoint.state_dict())) is None
    assert saved["epoch"] == saved["states"]["scheduler"]["last_epoch"] / 3 * 3 == 2
    assert [epoch["epoch"] for epoch in saved["states"]["history"]["epochs"]] == [1, 2]
    assert len(saved["states"]["loss"]["weighting._extra_state"]["history"]["oar"]) == 2
    assert saved["network"]["body.0.bias"].unique().item() == 2


def test_the_epoch_before_is_kept_as_well(tmp_path):
    Run(tmp_path, epochs=3).go()
    assert load_checked(tmp_path / "last.pt")["epoch"] == 3
    assert load_checked(tmp_path / "last.prev.pt")["epoch"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.prev.pt", "last.pt", "metrics.json", "model.pt"]


class Spy:
    """Trainer's handler: at each epoch's start, note the epochs that the files are of, once no write is under way."""

    def __init__(self, folder):
        self.folder, self.seen, self.checkpoint = folder, [], None

    def attach(self, engine):
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine):
        if running := self.checkpoint._background._running:
            running.exception()  # waits
        names = {path.name for path in self.folder.glob("*")}
        last = load_checked(self.folder / "last.pt")["epoch"] if "last.pt" in names else None
        assert ("model.pt" in names) == ("metrics.json" in names) == (last is not None)
        if last is not None:
            history = json.loads((self.folder / "metrics.json").read_text())
            assert history["epochs"][-1]["epoch"] == last
            weights = load_checked(self.folder / "last.pt")["states"]["best"]["weights"]
            assert same(load_checked(self.folder / "model.pt"), weights) is None
        self.seen.append(last)


def spied(folder, **options):
    spy = Spy(folder)
    run = Run(folder, train_handlers=[spy], **options)
    spy.checkpoint = run.checkpoint
    return run.go(), spy.seen


def test_by_interval_all_files_are_of_the_epoch_saved_and_the_last_one_is_that_of_the_end(tmp_path):
    Run(tmp_path / "whole", epochs=3).go()
    _, seen = spied(tmp_path / "each", epochs=3, checkpoint_every=1e-9)
    assert seen == [None, 1, 2]
    _, seen = spied(tmp_path / "end", epochs=3, checkpoint_every=60)
    assert seen == [None, None, None]
    for name in ("each", "end"):
        states = [without_seconds(load_checked(tmp_path / folder / "last.pt")) for folder in ("whole", name)]
        assert same(*states) is None
        assert same(*[load_checked(tmp_path / folder / "model.pt") for folder in ("whole", name)]) is None
        assert len(json.loads((tmp_path / name / "metrics.json").read_text())["epochs"]) == 3


def test_a_run_that_stops_early_is_saved_by_interval_too(tmp_path):
    run, seen = spied(tmp_path, epochs=9, patience=1, checkpoint_every=60)
    saved = load_checked(tmp_path / "last.pt")
    assert set(seen) == {None}
    assert (saved["epoch"], saved["stopped_early"]) == (run.trainer.state.epoch, True)


@pytest.mark.parametrize("end", [KeyboardInterrupt, ZeroDivisionError])
def test_whatever_ends_a_run_its_last_complete_epoch_is_saved(tmp_path, end):
    run = Run(tmp_path, checkpoint_every=60)

    @run.trainer.on(Events.ITERATION_COMPLETED(once=8))
    def fail():
        raise end

    with pytest.raises(end):
        run.go()
    assert load_checked(tmp_path / "last.pt")["epoch"] == 2
    assert len(json.loads((tmp_path / "metrics.json").read_text())["epochs"]) == 2
    Run(tmp_path / "whole").go()
    Run(tmp_path, resume=True, checkpoint_every=60).go()
    networks = [load_checked(folder / "last.pt")["network"] for folder in (tmp_path, tmp_path / "whole")]
    assert same(*networks) is None


def test_a_copy_is_taken_before_training_goes_on(tmp_path, monkeypatch):
    """The thread writes only when two more epochs have changed every tensor in place."""
    go_on, expected = threading.Event(), []
    run = Run(tmp_path, epochs=4, checkpoint_every=1e-9)

    def save(state, *paths):
        go_on.wait(30)
        return save_atomic(state, *paths)

    monkeypatch.setattr("ctan_monai.engines.handlers.checkpoint_handler.save_atomic", save)

    @run.trainer.on(Events.EPOCH_STARTED)
    def look(engine):
        if engine.state.epoch == 2:
            expected.append(without_seconds(copied(plain(run.checkpoint.state_dict()))))
            expected[0]["epoch"] = 1
        if engine.state.epoch == 4:
            go_on.set()
            run.checkpoint._background._running.result(30)
            found = without_seconds(load_checked(tmp_path / "last.pt"))
            assert same(found, expected[0]) is None
            assert same(found["network"], copied(plain(run.network.state_dict()))) is not None

    run.go()
    assert expected
    assert load_checked(tmp_path / "last.pt")["epoch"] == 4


def test_copies_share_no_memory_and_keep_kinds():
    state = {"a": [torch.arange(3), (torch.ones(2, 2).t(), 4)], "milestones": Counter({2: 1})}
    copy = copied(state)
    assert same(copy, state) is None
    assert isinstance(copy["milestones"], Counter)
    state["a"][0].add_(1)
    assert copy["a"][0].tolist() == [0, 1, 2]


def test_plain_torch_reads_it_without_running_code(tmp_path):
    Run(tmp_path, epochs=1).go()
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert saved["run"]["tasks"][0]["labels"] == ["Rectum", "Bladder"]
    assert saved["versions"]["torch"] == torch.__version__


def test_wrappers_do_not_show_in_the_names_of_the_weights(tmp_path):
    run = Run(tmp_path)
    run.trainer.network = torch.nn.DataParallel(run.network)
    assert list(Checkpoint(tmp_path, run.trainer).state_dict()["network"]) == list(run.network.state_dict())


def test_an_entry_without_a_state_is_refused_at_once_and_none_is_left_out(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(ConfigError, match=r"states: noise: a list has no state_dict"):
        Checkpoint(tmp_path, run.trainer, {"noise": [], "scheduler": None})
    assert "scheduler" not in Checkpoint(tmp_path, run.trainer, {"scheduler": None}).state_dict()["states"]


def test_the_fingerprint_sees_cases_slices_and_their_order_but_not_where_files_lie():
    data = [{"case": "pt_1", "slice": 3}, {"case": "pt_2"}]
    for other in (data[::-1], data[:1], [{**data[0], "slice": 4}, data[1]], [{"case": "pt_1pt_2"}]):
        assert fingerprint(other) != fingerprint(data)
    assert "pt_" not in str(fingerprint(data))
    assert fingerprint(data)["content_sha256"] is None


def write(path, hu, grade=1):
    ct_hu = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    ct_hu[1, 2, 3] = hu
    write_case(path, Case("pt_1", {"ct": ct_hu}, {}, np.eye(4), {"grade": grade}), str(path))
    return [{"case": "pt_1", "file": str(path), "slice": number} for number in (0, 3)]


def test_the_fingerprint_sees_every_voxel_and_label_but_not_where_and_when_files_were_written(tmp_path):
    found = fingerprint(write(tmp_path / "a.case", 1))
    assert fingerprint(write(tmp_path / "elsewhere" / "b.case", 1)) == found
    for other in (write(tmp_path / "c.case", 2), write(tmp_path / "d.case", 1, grade=2)):
        assert fingerprint(other)["sha256"] == found["sha256"]
        assert fingerprint(other)["content_sha256"] != found["content_sha256"]


@pytest.mark.promise(2, "resuming with data whose voxels or labels have changed is refused, the names being the same")
def test_resuming_with_one_changed_voxel_is_refused_and_with_a_copy_it_is_not(tmp_path):
    run = Run(tmp_path / "run", epochs=1)
    Checkpoint(tmp_path / "run", run.trainer, data=write(tmp_path / "a.case", 1)).save()
    Checkpoint(tmp_path / "run", run.trainer, resume=True, data=write(tmp_path / "copy.case", 1))
    with pytest.raises(CheckpointError, match=r"another run: data\.content_sha256: saved '\w+', now '\w+'\.") as caught:
        Checkpoint(tmp_path / "run", run.trainer, resume=True, data=write(tmp_path / "b.case", 2))
    assert "pt_" not in str(caught.value)


def test_a_checkpoint_that_does_not_know_what_its_cases_held_is_continued_by_their_names(tmp_path, caplog):
    Run(tmp_path, epochs=1).go()
    saved = load_checked(tmp_path / "last.pt")
    del saved["data"]["content_sha256"]
    save_atomic(saved, tmp_path / "last.pt")
    assert Run(tmp_path, epochs=2, resume=True).trainer.state.epoch == 1
    assert "does not say what its cases hold" in caplog.text


@pytest.mark.promise(2, "a checkpoint says settings, seed, configs, versions, source and data it belongs to")
def test_it_says_what_it_belongs_to(tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text("seed: 5\n")
    RunFolder(tmp_path / "run", {"seed": 5, "method": "tiny"}, config_files=[config])
    Run(tmp_path / "run", epochs=1).go()
    saved = load_checked(tmp_path / "run" / "last.pt")
    assert saved["manifest"] == {
        "settings": {"seed": 5, "method": "tiny"},
        "configs_sha256": {"train.yaml": hashlib.sha256(b"seed: 5\n").hexdigest()},
    }
    assert saved["data"]["items"] == 6
    assert {"ctan_monai", "torch", "monai", "python", "git"} <= set(saved["versions"])
    assert saved["run"]["method"] == "tiny"


def test_the_source_is_named_by_its_commit_and_an_installed_package_has_none(monkeypatch, tmp_path, repository):
    shown = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=False)
    source_state.cache_clear()
    assert source_state().split(",")[0] == (shown.stdout.strip() or "none")
    source_state.cache_clear()
    monkeypatch.setattr("ctan_monai.__file__", str(tmp_path / "__init__.py"))
    try:
        assert source_state() == "none"
    finally:
        source_state.cache_clear()
