"""Names that configs of earlier runs hold still lead to what they named."""

import json
import math
import subprocess
import sys
import warnings
from pydoc import locate

import pytest

from ctan_monai import aliases
from ctan_monai.data.cases.file_grid import native_grid_of
from ctan_monai.data.datasets.ham10000.datalist import ham10000_datalist
from ctan_monai.data.datasets.openkbp.datalist import openkbp_datalist
from ctan_monai.engines.loop.slice_pooling import SlicePoolingInferer
from ctan_monai.engines.runs.manifest import read_manifest, run_setting
from ctan_monai.engines.runs.option_checks import check_options
from ctan_monai.errors import ConfigError
from ctan_monai.metrics.structure_dose import StructureDose
from ctan_monai.tasks import Regression, Segmentation
from ctan_monai.transforms import RandAffineLabelsd


@pytest.fixture
def config_names(repository):
    """Every name that a config of a bundle, a template or a test had before the package's folders were changed."""
    return (repository / "tests" / "golden" / "config_names.txt").read_text(encoding="utf-8").split()


def test_every_name_of_an_old_config_is_found_and_moved_ones_tell_the_new_name(config_names):
    assert len(config_names) == 89
    moved = 0
    for name in config_names:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = locate(name)
        assert callable(found), name
        told = [
            str(each.message)
            for each in caught
            if each.category is DeprecationWarning and "is now" in str(each.message)
        ]
        new = "ctan_monai." + aliases.current_name(name.removeprefix("ctan_monai."))
        assert told == ([] if new == name else [f"{name} is now {new}; write the new name, the old one will go."])
        assert locate(new) is found
        moved += new != name
    assert moved == 32


def test_no_config_of_this_repository_holds_an_old_name(repository):
    configs = [*repository.glob("bundles/*/configs/*"), *repository.glob("ctan_monai/**/*.yaml")]
    assert len(configs) > 30
    for path in configs:
        text = path.read_text(encoding="utf-8")
        assert aliases.current_names(text) == text, path


@pytest.mark.parametrize(
    "statement",
    [
        "from ctan_monai.data.cases import Case",
        "from ctan_monai.data.datalist import read_choice",
        "import ctan_monai.data.own.layout as m; m.Layout",
        "from ctan_monai.data.datasets.prostate.phantom.grid import PhantomGrid",
        "from ctan_monai.data.datasets.prostate.prepare import prepare_dicom",
        "from ctan_monai.data.dicom_out import write_rtstruct",
        "from ctan_monai.engines.distributed import distribute",
    ],
)
def test_a_program_of_before_runs_and_is_told(statement):
    with pytest.warns(DeprecationWarning, match="is now ctan_monai"):
        exec(statement, {})  # noqa: S102


def test_old_arguments_mean_what_they_meant():
    tasks = [Segmentation("organ", ["a"])]
    with pytest.warns(DeprecationWarning, match="rotate_range"):
        old = RandAffineLabelsd(tasks, rotate_degrees=15, zoom=0.2, shift_voxels=3)
    new = RandAffineLabelsd(tasks, rotate_range=math.radians(15), scale_range=0.2, translate_range=3)
    for each in (old, new):
        each.set_random_state(0)
    names = ("rotate_range", "scale_range", "translate_range")
    parameters = [[getattr(each.matrices, name) for name in names] for each in (old, new)]
    assert parameters[0] == parameters[1]
    with pytest.raises(TypeError, match="both were given"):
        RandAffineLabelsd(tasks, zoom=0.2, scale_range=0.2)


def test_what_never_was_is_not_found():
    for name in ("ctan_monai.data.own.nothing", "ctan_monai.data.chest.nothing", "ctan_monai.data.nothing"):
        assert locate(name) is None
        with pytest.raises(ModuleNotFoundError):
            __import__(name)


def test_what_is_old_points_to_what_is_there():
    for new in aliases._MODULES.values():
        __import__(f"ctan_monai.{new}")
    for new in aliases._NAMES.values():
        assert locate(f"ctan_monai.{new}") is not None, new


def test_the_package_alone_imports_nothing_heavy():
    program = "import sys, ctan_monai; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "monai", "numpy", "ignite"} & set(done.stdout.split())


def test_options_of_before_are_read_by_both_names(tmp_path):
    """Settings of an old run answer a new config, and those of a new run an old overlay."""
    for name, value in (("empty_share", 0.25), ("empty_fraction", 0.5)):
        (tmp_path / "settings.json").write_text(json.dumps({name: value, "normalise_to_gy": 60.0}))
        assert run_setting(tmp_path, "empty_share") == run_setting(tmp_path, "empty_fraction") == value
        assert run_setting(tmp_path, "normalize_to_gy") == 60.0
        assert read_manifest(tmp_path)["settings"] == {"empty_fraction": value, "normalize_to_gy": 60.0}
    both = aliases.settings_under_all_names({"top_share": 0.4, "seed": 0})
    assert both == {"top_fraction": 0.4, "top_share": 0.4, "seed": 0}


def test_values_of_before_mean_the_same():
    for old, new in (("labelled", "labeled"), ("grey", "gray")):
        with pytest.warns(DeprecationWarning, match=f"{old} is now {new}"):
            assert aliases.current_value(old, "option") == new
    for value in ("labeled", "all", None, ["grey"]):
        assert aliases.current_value(value, "option") == value


def test_files_of_before_are_found_where_there_are_none_of_today(tmp_path):
    for name, old in aliases.FILES.items():
        assert aliases.existing_file(tmp_path, name) == tmp_path / name
        (tmp_path / old).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / old).write_text("old")
        assert aliases.existing_file(tmp_path, name) == tmp_path / old
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("new")
        assert aliases.existing_file(tmp_path, name) == tmp_path / name


def test_calls_in_old_configs_give_options_by_their_old_names(tmp_path):
    with pytest.warns(DeprecationWarning, match="top_fraction"):
        assert SlicePoolingInferer("topk", top_share=0.4).top_fraction == 0.4
    with pytest.warns(DeprecationWarning, match="empty_fraction"), pytest.raises(ConfigError, match="empty_fraction"):
        openkbp_datalist(None, "sample", "cache", empty_share=7)
    with pytest.warns(DeprecationWarning, match="split_fractions"), pytest.raises(ConfigError, match="split_fractions"):
        ham10000_datalist(None, tmp_path, (64, 64), shares=(0.5, 0.5))
    dose, structures = Regression("dose", "Gy", 80.0), Segmentation("oar", ["PTV"])
    with pytest.warns(DeprecationWarning, match="dose_metrics"), pytest.raises(ConfigError, match="'Dmost' is unknown"):
        StructureDose(dose, structures, figures=["Dmost"])


def test_an_old_option_is_refused_on_the_command_line_with_its_new_name(tmp_path):
    (tmp_path / "train.yaml").write_text("empty_fraction: 0.0\nmethod: ctan\n")
    given = ["run", "training", "--config_file", str(tmp_path / "train.yaml"), "--empty_share", "0.5"]
    with pytest.raises(ConfigError, match=r"--empty_share: this option is empty_fraction now"):
        check_options(given)
    (tmp_path / "evaluate.yaml").write_text("dose_metrics: [Dmean]\n")
    files = f"['{tmp_path / 'train.yaml'}','{tmp_path / 'evaluate.yaml'}']"
    with pytest.raises(ConfigError, match=r"--figures: this option is dose_metrics now"):
        check_options(["run", "evaluating", "--config_file", files, "--figures", "['V57Gy']"])
    (tmp_path / "train.yaml").write_text("empty_share: 0.0\nmethod: ctan\n")  # a bundle of before
    check_options(given)


def test_the_grid_of_a_case_that_was_cached_before_is_found():
    old = {"own_grid": {"shape": [4, 5, 6], "affine_ras": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]}}
    assert native_grid_of(old).shape == (4, 5, 6)
