"""The public faces: every name leads to something, by the same object whichever way it is imported."""

import ast
import importlib
import pkgutil
import subprocess
import sys

import pytest

import ctan_monai

LAZY = ["ctan_monai", "ctan_monai.data", "ctan_monai.data.dicom", "ctan_monai.engines", "ctan_monai.metrics",
        "ctan_monai.share"]  # fmt: skip


@pytest.fixture(params=LAZY)
def package(request):
    return importlib.import_module(request.param)


def test_every_public_name_leads_to_something_of_the_module_that_the_table_names(package):
    for name, place in package._PUBLIC.items():
        module = importlib.import_module(place if place.startswith(".") else f".{place}", package.__name__)
        assert getattr(package, name) is getattr(module, name)


def test_no_public_name_is_that_of_a_module_which_would_take_its_place_once_imported(package):
    assert not {module.name for module in pkgutil.iter_modules(package.__path__)} & set(package.__all__)


def test_completion_lists_the_public_names(package):
    assert set(dir(package)) == set(package._PUBLIC)
    assert set(package._PUBLIC) <= set(package.__all__)


def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match="MultiTaskTraner"):
        _ = package.MultiTaskTraner


def test_type_checkers_are_told_the_same_names(repository):
    stub = ast.parse((repository / "ctan_monai" / "__init__.pyi").read_text(encoding="utf-8"))
    told = {alias.asname: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told.keys() == ctan_monai._PUBLIC.keys()
    for name, module in told.items():
        assert getattr(importlib.import_module(module), name) is getattr(ctan_monai, name)


def test_tasks_need_neither_torch_nor_monai():
    program = "import sys, ctan_monai; ctan_monai.Segmentation('a', ['b']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "monai", "numpy", "ignite"} & set(done.stdout.split())
