"""A packed ensemble answers as its runs do together, also without this package and in MONAI Label."""

import json

import pytest
import torch
from bundle_kit import rows_of
from monai.bundle import ConfigParser, load
from pack_kit import HAM10000, kept_logging, run_alone, run_config
from safetensors.torch import load_file

from ctan_monai.engines.runs.ensemble import Ensemble
from ctan_monai.engines.runs.manifest import SETTINGS_FILE
from ctan_monai.engines.runs.run_network import answering_network, network_of_run, run_network
from ctan_monai.engines.runs.run_record import load_best, write_run
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.errors import ConfigError
from ctan_monai.serve.predictor import Predictor
from ctan_monai.serve.write_app import write_app
from ctan_monai.share import pack_bundle

pytestmark = pytest.mark.slow
SETTINGS = {"image_size": [48, 64], "method": "hps", "encoder": "resnet18", "learning_rate": 0.0001}


def make_run(folder, seed, method="hps"):
    """Make a run's folder with a network that was not trained."""
    parser = ConfigParser()
    parser.read_config(str(HAM10000 / "configs" / "train.yaml"))
    parser.update({"bundle_root": str(HAM10000), **SETTINGS, "method": method})
    torch.manual_seed(seed)
    network = parser.get_parsed_content("network_def")
    folder.mkdir()
    write_run(network, folder)
    save_atomic(network.state_dict(), folder / "model.pt")
    (folder / SETTINGS_FILE).write_text(json.dumps({**SETTINGS, "method": method}))
    (folder / "data.json").write_text(json.dumps({"synthetic": True, "cases": {"train": 40 + seed}}))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    return [make_run(place / name, seed) for seed, name in enumerate("ab")]


@pytest.fixture(scope="module")
def packed(runs, tmp_path_factory):
    """Pack two runs with the code that they need."""
    return pack_bundle(HAM10000, f"[{runs[0]},{runs[1]}]", tmp_path_factory.mktemp("packed"), vendored=True).folder


def test_it_answers_alone_as_the_runs_do_together(packed, runs, tmp_path):
    ended = run_alone(packed, "inferring", "--config_file", "configs/inference.yaml", "--overlays", "0")
    assert ended.returncode == 0, ended.stderr
    given = {"run_dir": [str(run) for run in runs], "output_dir": str(tmp_path / "out"), "cache_dir": str(tmp_path)}
    run_config(HAM10000, "inference.yaml", run_id="inferring", kind="infer", overlays=0, **given)
    for table in ("predictions.csv", "spread.csv"):
        assert rows_of(packed / "eval" / "inference" / table) == rows_of(tmp_path / "out" / table)


def test_the_weights_are_those_of_all_and_the_pages_say_so(packed, runs):
    joined = answering_network(packed / "models")
    assert isinstance(joined, Ensemble)
    image = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        found = joined(image)
        together = load_best(run_network(runs), runs).eval()(image)
    assert all(torch.equal(found[name], logits) for name, logits in together.items())
    safe = load_file(packed / "models" / "model.safetensors")
    assert all(torch.equal(safe[name], tensor) for name, tensor in joined.state_dict().items())
    assert "An ensemble of 2 networks, whose mean answer inference gives" in (packed / "docs" / "README.md").read_text()
    assert not (packed / "configs" / "evaluate.yaml").exists()
    with pytest.raises(ConfigError, match="holds an ensemble of 2 networks, expected one"):
        network_of_run(packed / "models")


def test_monai_loads_it(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pack_bundle(HAM10000, f"[{runs[0]},{runs[1]}]", ".", vendored=False)
    with kept_logging():
        network = load("ham10000", bundle_dir=".", workflow_type="inference", device="cpu").eval()
    image = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        expected = answering_network("ham10000/models")(image)
        found = network(image)
    assert all(torch.allclose(found[name], logits, atol=1e-5) for name, logits in expected.items())


def test_monai_label_answers_by_it(packed, tmp_path):
    app = write_app(HAM10000, packed / "models", tmp_path / "app")
    given = {"run_dir": str(packed / "models"), "cache_dir": str(tmp_path), "output_dir": str(tmp_path / "out")}
    run_config(HAM10000, "inference.yaml", run_id="inferring", kind="infer", overlays=0, **given)
    row = rows_of(tmp_path / "out" / "predictions.csv")[0]
    (image,) = tmp_path.glob(f"synthetic*/**/{row['case']}.*g")
    answer = Predictor(app, "cpu").predict(image).answers["diagnosis"]
    assert answer["nv"] == pytest.approx(float(row["diagnosis: nv"]), abs=1e-6)


def test_runs_of_other_inputs_are_refused(runs, tmp_path):
    other = make_run(tmp_path / "other", 3)
    (other / SETTINGS_FILE).write_text(json.dumps({**SETTINGS, "image_size": [64, 64]}))
    with pytest.raises(ConfigError, match="the runs differ in image_size"):
        pack_bundle(HAM10000, f"[{runs[0]},{other}]", tmp_path / "out", vendored=False)
    assert not list((tmp_path / "out").glob("*"))
