"""The page that trains from Python, and the documentation's site."""

import importlib
import re
import subprocess
import sys
import zlib
from urllib.parse import unquote

import pytest
import yaml
from markdown_pages import run_snippets


@pytest.mark.slow
def test_ten_lines_of_python_train_and_predict(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    run_snippets(repository / "docs" / "python.md")


@pytest.fixture(scope="module")
def site(repository, tmp_path_factory):
    """Build the site with warnings as errors."""
    for module in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", ".", folder]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_no_link_in_it_is_dead(site):
    pages = list(site.rglob("*.html"))
    assert (site / "index.html").read_bytes() == (site / "README.html").read_bytes()
    assert len(pages) > 60
    for page in pages:
        text = page.read_text(encoding="utf-8")
        ids = set(re.findall(r'\bid="([^"]+)"', text))
        for target in set(re.findall(r'href="([^"]+)"', text)):
            file, _, anchor = unquote(target).partition("#")
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / file.partition("?")[0]).exists(), f"{page}: {target}"
                assert file or not anchor or anchor in ids, f"{page}: {target}"


@pytest.mark.slow
def test_the_site_documents_every_public_name(site):
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]  # after four lines of heading
    names = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines() if " py:" in line}
    for package in ("networks", "losses.weighting", "transforms", "metrics", "engines", "data", "data.dicom"):
        face = importlib.import_module(f"ctan_monai.{package}")
        public = {name for name in face.__all__ if callable(getattr(face, name))}  # neither constants nor modules
        assert not {name for name in public if f"{face.__name__}.{name}" not in names}


@pytest.mark.slow
def test_the_index_of_options_has_those_of_every_bundle(site, repository):
    text = (site / "docs" / "options.html").read_text(encoding="utf-8")
    for config in repository.glob("bundles/*/configs/train.yaml"):
        anchor = config.parents[1].name.replace("_", "-")
        section = re.search(rf'<section id="{anchor}">(.*?)</section>', text, re.S)[1]
        listed = re.findall(r"<tr[^>]*><td[^>]*><p><code[^>]*><span[^>]*>(\w+)</span>", section)
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        assert {"method", "epochs", "seed"} <= set(listed) <= content.keys() - {"tasks", "settings", "network"}
        assert len(listed) > 20
