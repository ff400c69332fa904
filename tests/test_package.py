"""The wheel, installed as a user installs it, far from the repository."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import ctan_monai

pytestmark = pytest.mark.slow

SOURCES = ("LICENSE", "README.md", "CHANGELOG.md", "MANIFEST.in", "constraints.txt", "setup.cfg", "pyproject.toml")


def call(*command, cwd):
    """Run a command without this repository in sight; return what it prints."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(repository, tmp_path_factory):
    """Build a source distribution, and the wheel from that, with the tools of this environment."""
    folder = tmp_path_factory.mktemp("build")
    (folder / "src").mkdir()
    for name in SOURCES:
        shutil.copy(repository / name, folder / "src")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(repository / "ctan_monai", folder / "src" / "ctan_monai", ignore=ignore)
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "src", cwd=folder)
    (found,) = (folder / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Install the wheel into a new environment that borrows the other packages of this one; return its programs."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", with_pip=False)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / Path(sys.executable).name
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "-q", wheel]
    call(*pip, cwd=folder)
    site = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(site, "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")  # a path in a .pth: its own .pth are not
    return scripts


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(repository, wheel):
    package = repository / "ctan_monai"
    files = {str(path.relative_to(repository).as_posix()) for path in package.rglob("*") if path.is_file()}
    files = {file for file in files if "__pycache__" not in file}
    inside = set(zipfile.ZipFile(wheel).namelist())
    about = f"ctan_monai-{ctan_monai.__version__}.dist-info/"
    assert {"ctan_monai/py.typed", "ctan_monai/metrics/table2.csv"} <= files
    assert {name for name in inside if not name.startswith(about)} == files
    assert any(name.startswith(about) and name.endswith("LICENSE") for name in inside)


def test_installed_it_runs_from_its_own_files_with_all_its_data(installed, tmp_path):
    program = (
        "import ctan_monai, importlib, pkgutil\n"
        "from ctan_monai.metrics.delta import published_table2\n"
        "names = [m.name for m in pkgutil.walk_packages(ctan_monai.__path__, 'ctan_monai.')]\n"
        "[importlib.import_module(name) for name in names if not name.endswith('__main__')]\n"
        "print(ctan_monai.__file__)\n"
        "print(len(published_table2()))\n"
    )
    file, deltas = call(next(installed.glob("python*")), "-c", program, cwd=tmp_path).splitlines()
    assert Path(file).is_relative_to(installed.parent)
    assert int(deltas) == 45  # Table 2: three methods, four data sets and the average, two tasks and the mean
    assert not list(tmp_path.iterdir())


def test_installed_it_scores_predictions_in_an_empty_folder(installed, golden, tmp_path):
    python = next(installed.glob("python*"))
    assert "--reference" in call(python, "-m", "ctan_monai", "score", "openkbp", "--help", cwd=tmp_path)
    told = call(installed / "ctan-monai", "--version", cwd=tmp_path)
    assert told.startswith(f"ctan-monai {ctan_monai.__version__}\n")
    folders = ["--reference", golden / "reference", "--prediction", golden / "pred_spill"]
    call(python, "-m", "ctan_monai", "score", "openkbp", *folders, cwd=tmp_path)
    official = json.loads((golden / "official_scores.json").read_text())["spill"]
    found = json.loads((tmp_path / "scores.json").read_text())
    assert {key: found[key] for key in ("dose_score", "dvh_score")} == pytest.approx(
        {key: official[key] for key in ("dose_score", "dvh_score")}, abs=1e-9
    )
