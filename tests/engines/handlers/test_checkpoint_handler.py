"""What last.pt holds, and when it is written."""

import hashlib
import subprocess

import numpy as np
import pytest
import torch
from ignite.engine import Events
from run_kit import Run, same

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.engines.handlers.checkpoint_handler import Checkpoint
from ctan_monai.engines.runs.run_folder import RunFolder
from ctan_monai.engines.runs.torch_file import load_checked, plain, save_atomic
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
