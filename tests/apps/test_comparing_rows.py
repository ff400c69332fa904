"""Rows of the table: methods, weightings, and every ablation that comes with the package."""

import json
from pathlib import Path

import pytest

from ctan_monai.apps.comparing.bundle import Bundle, read_overrides
from ctan_monai.apps.comparing.plan import began_before
from ctan_monai.apps.comparing.rows import make_rows, read_presets
from ctan_monai.engines.runs.run_record import describe
from ctan_monai.errors import ConfigError
from ctan_monai.networks.forms import record_before
from ctan_monai.networks.registry import own_backbone

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle():
    return Bundle(str(ROOT / "bundles" / "openkbp"), ["--encoder", "resnet18", "--network_def#encoder", "resnet18"])


def test_a_weighting_makes_a_row_but_not_where_nothing_is_shared(bundle):
    rows = make_rows(bundle, ["stl", "hps"], ["equal", "dwa"])
    assert [(row.name, row.weighting) for row in rows] == [
        ("stl", None),
        ("hps-equal", "equal"),
        ("hps-dwa", "dwa"),
    ]


def test_without_a_weighting_it_is_the_bundles(bundle):
    assert [(row.name, row.weighting) for row in make_rows(bundle, ["hps"])] == [("hps", "dwa")]


@pytest.mark.parametrize("name", read_presets())
def test_an_ablation_changes_the_network_that_is_built(bundle, name):
    method, overrides = read_presets()[name]
    if method == "hybrid_mt_estan":
        tiny = ["--network_size", "tiny", "--image_size", "[96, 96]", "--dataset_dir", "none"]
        bundle = Bundle(str(ROOT / "bundles" / "busi"), tiny)
    elif own_backbone(method):
        bundle = Bundle(bundle.folder)
    plain, changed = bundle.network(method), bundle.network(method, overrides)
    if name == "full_resolution":  # the bundle's own
        assert changed.settings == plain.settings
        return
    assert changed.settings != plain.settings
    options = read_overrides(overrides)
    flat = {**changed.settings, **changed.settings["network_options"], **changed.settings["decoder_options"]}
    for path, value in options.items():
        assert flat[path.split("#")[-1]] == value or flat[path.split("#")[-1]].items() >= value.items()


def test_a_method_with_its_own_backbone_does_not_get_the_others_encoder():
    rows = make_rows(Bundle(str(ROOT / "bundles" / "openkbp"), ["--encoder", "resnet18"]), ["hps", "sfg"])
    assert [row.overrides for row in rows] == [(), ("--encoder", "None")]


def test_rows_of_ones_own_come_from_a_file(bundle, tmp_path):
    file = tmp_path / "rows.yaml"
    file.write_text(
        "slow_1: {method: ctan, overrides: {learning_rate: 0.0002, 'network_def#decoder_options#skips': p}}"
    )
    rows = make_rows(bundle, ["hps"], (), ["slow_1", "no_ctab"], file)
    assert [row.name for row in rows] == ["hps", "ctan-slow_1", "ctan-no_ctab"]
    assert rows[1].overrides == ("--learning_rate", "0.0002", "--network_def#decoder_options#skips", "p")
    assert bundle.network("ctan", rows[1].overrides).settings["decoder_options"]["skips"] == "p"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no rows"),
        ("[a, b]", "names no rows"),
        ("a: [", "cannot be read"),
        ("no_ctab: {method: ctan, overrides: {}}", "a preset of the package"),
        ("../a: {method: ctan, overrides: {}}", "Write NAME"),
        ("a: {method: ctan}", "Write NAME"),
        ("a: ctan", "Write NAME"),
        ("a: {method: ctan, overrides: [1]}", r"overrides \[1\]"),
        ("a: {method: ctan, overrides: {seed: 3}}", "--seed: the comparison chooses it"),
        ("a: {method: ctan, overrides: {epoch: 3}}", "--epoch: .* has no such entry"),
        ("a: {method: unet, overrides: {}}", "'unet'"),
    ],
)
def test_a_file_of_rows_is_refused_with_what_was_found(bundle, tmp_path, text, message):
    file = tmp_path / "rows.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        make_rows(bundle, ["hps"], (), ["a"], file)


def test_overrides_are_read_as_monai_reads_them():
    assert read_overrides(["--a", "1e-3", "--b=[1, 2]", "--c#d", "text", "--e", "--f", "None"]) == {
        "a": 0.001,
        "b": [1, 2],
        "c#d": "text",
        "e": True,
        "f": None,
    }


@pytest.mark.parametrize("method", ["ctan", "mtan", "hps", "stl"])
@pytest.mark.parametrize("name", ["openkbp", "ham10000"])
def test_what_an_earlier_version_began_goes_on_with_its_networks(tmp_path, name, method):
    bundle = Bundle(str(ROOT / "bundles" / name), ["--encoder", "resnet18"])
    rows = make_rows(bundle, [method])
    assert not began_before(rows, tmp_path)
    run = tmp_path / "runs" / rows[0].name / "seed0" / "run"
    run.mkdir(parents=True)
    record = describe(bundle.network(method))
    (run / "run.json").write_text(json.dumps(record))
    assert not began_before(rows, tmp_path)
    before = record_before(bundle.network(method))
    old = {**record, "decoder_options": {}, "network_options": {}, "encoder_options": before["encoder_options"]}
    (run / "run.json").write_text(json.dumps(old))
    assert began_before(rows, tmp_path)
    network = bundle.network(method, bundle.form_before(method))
    for group in ("encoder_options", "decoder_options", "network_options"):
        assert network.settings[group].items() >= before[group].items()
    assert not bundle.form_before(method, bundle.form_before(method))
