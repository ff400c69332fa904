"""Names that configs of earlier runs hold still lead to what they named."""

import math
import subprocess
import sys
import warnings
from pydoc import locate

import pytest

from ctan_monai import aliases
from ctan_monai.tasks import Segmentation
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
        "from ctan_monai.data.phantom.grid import PhantomGrid",
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
    parameters = [[getattr(each.rand_affine.rand_affine_grid, name) for name in names] for each in (old, new)]
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
