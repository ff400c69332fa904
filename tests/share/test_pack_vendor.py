"""A bundle with the code it needs runs where this package cannot be imported."""

import ast
import json
import shutil

import pytest
import yaml
from pack_kit import HAM10000, ROOT, run_alone
from typer.testing import CliRunner

from ctan_monai.apps.main import app
from ctan_monai.errors import ConfigError
from ctan_monai.share.vendor import renamed, vendor

CONFIG = "network_def: {_target_: ctan_monai.networks.create_network}  # not ctan_monai.report.report_run\n"


def imported(path):
    """Return every name that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.slow
def test_inference_needs_nothing_but_the_bundle(small_run, tmp_path):
    command = ["pack", str(HAM10000), "--weights", str(small_run), "--out", str(tmp_path / "out")]  # vendors unasked
    assert CliRunner().invoke(app, command).exit_code == 0
    shutil.unpack_archive(tmp_path / "out" / "ham10000.zip", tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / "ham10000"
    assert (folder / "scripts" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "were changed" in (folder / "scripts" / "NOTICE").read_text()
    done = run_alone(folder, "inferring", "--config_file", "configs/inference.yaml")
    assert done.returncode == 0, done.stderr
    answers = (folder / "eval" / "inference" / "predictions.csv").read_text()
    assert answers == (small_run / "inference" / "predictions.csv").read_text()
    packages = json.loads((folder / "configs" / "metadata.json").read_text())["required_packages_version"]
    assert "ctan-monai" not in packages
    assert {"pytorch-ignite", "blosc2", "nibabel"} <= set(packages)


def test_only_what_is_reached_is_written_and_it_imports_only_what_is_there(tmp_path):
    code = vendor({"inference.yaml": CONFIG}, tmp_path)
    assert yaml.safe_load(code.configs["inference.yaml"])["network_def"] == {
        "_target_": "scripts.networks.create_network"
    }
    scripts = tmp_path / "scripts"
    assert (scripts / "networks" / "ctan.py").is_file()
    assert (scripts / "__init__.py").is_file()
    assert not [name for name in ("report", "engines", "apps", "share") if (scripts / name).exists()]
    for path in scripts.rglob("*.py"):
        for name in imported(path):
            assert not name.startswith("ctan_monai"), path
            if name.startswith("scripts."):
                place = tmp_path.joinpath(*name.split("."))
                assert place.with_suffix(".py").is_file() or (place / "__init__.py").is_file(), f"{path}: {name}"
    assert code.required == {}  # networks need torch and monai, which metadata.json names elsewhere


def test_names_that_are_found_only_when_asked_for_bring_their_module_and_tables_are_copied(tmp_path):
    vendor(
        {"a.yaml": "a: {_target_: ctan_monai.engines.run_setting}\nb: $ctan_monai.metrics.delta.published_table2"},
        tmp_path,
    )
    assert (tmp_path / "scripts" / "engines" / "runs" / "manifest.py").is_file()
    assert not (tmp_path / "scripts" / "engines" / "loop" / "trainer.py").exists()
    table = (tmp_path / "scripts" / "metrics" / "table2.csv").read_bytes()
    assert table == (ROOT / "ctan_monai" / "metrics" / "table2.csv").read_bytes()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import ctan_monai\nctan_monai.__version__\n", "import scripts\nscripts.__version__\n"),
        ("from ctan_monai import x\n", "from scripts import x\n"),
        (
            "def f():\n    é = 'é'; from ctan_monai.tasks import Task\n",
            "def f():\n    é = 'é'; from scripts.tasks import Task\n",
        ),
        ("files('ctan_monai.metrics')\n", "files('scripts.metrics')\n"),
        ("'ctan_monai'; 'of ctan_monai.tasks'; ctan_monai_x = 1\n",) * 2,
        ("# from ctan_monai import x\n",) * 2,
    ],
)
def test_the_package_is_renamed_where_it_is_used_and_not_where_it_is_mentioned(source, expected):
    assert renamed(source) == expected


def test_a_name_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ctan_monai\.networks\.create_networks does not exist"):
        vendor({"a.yaml": "a: {_target_: ctan_monai.networks.create_networks}"}, tmp_path)
