"""What last.pt holds, and when it is written."""

import pytest
import torch
from ignite.engine import Events
from run_kit import Run, same

from ctan_monai.engines.checkpoint import Checkpoint, fingerprint
from ctan_monai.engines.torch_file import load_checked, plain
from ctan_monai.errors import ConfigError


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
    data = [{"case": "pt_1", "file": "/a/pt_1", "slice": 3}, {"case": "pt_2", "file": "/a/pt_2"}]
    moved = [{**item, "file": "/b"} for item in data]
    assert fingerprint(moved) == fingerprint(data)
    for other in (data[::-1], data[:1], [{**data[0], "slice": 4}, data[1]], [{"case": "pt_1pt_2"}]):
        assert fingerprint(other) != fingerprint(data)
    assert "pt_" not in str(fingerprint(data))
