"""The documentation is run: snippets, outputs, commands, options, links and names in it are those of the package."""

import ast
import doctest
import importlib
import re
import subprocess
from configparser import ConfigParser as IniParser
from pkgutil import resolve_name

import pytest
import yaml
from markdown_pages import PAGES, ROOT, anchors, blocks, commands, links, name, prose, run_snippets, section_block
from monai.bundle import ConfigParser
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS
from new_bundles import folder_of_new_bundles
from typer.main import get_command

from ctan_monai.apps.main import app

README = ROOT / "README.md"
BUNDLE_RUN = "python -m monai.bundle run"
NEEDS_ALL_OF_OPENKBP = ROOT / "bundles" / "openkbp" / "sample" / "README.md"
TRAINS = ROOT / "docs" / "python.md"  # run by test_site.py
SNIPPETS = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]
RUNNABLE = [page for page in SNIPPETS if page not in (NEEDS_ALL_OF_OPENKBP, TRAINS)]
DOCTESTS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "ctan_monai").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("page", RUNNABLE, ids=name)
def test_snippets_run_in_their_order_and_print_what_stands_below_them(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    run_snippets(page)


def test_the_walkthrough_is_among_the_snippets():
    assert ROOT / "docs" / "walkthrough.md" in RUNNABLE


@pytest.mark.parametrize("module", DOCTESTS)
def test_examples_in_docstrings_hold(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in links(page):
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), f"{name(page)}: {target}"
        assert not anchor or anchor in anchors(found), f"{name(page)}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_and_names_of_the_package_that_are_mentioned_exist(page):
    words = re.findall(r"`([^`\n]+)`", prose(page))
    paths = [word for word in words if re.fullmatch(r"(ctan_monai|tests|docs|bundles|benchmarks)/[\w./-]+", word)]
    missing = [path for path in paths if not (ROOT / path).exists() and "/runs/" not in path]
    assert not missing
    for dotted in [word for word in words if re.fullmatch(r"ctan_monai(\.\w+)+", word)]:
        resolve_name(dotted)


def test_the_quick_start_and_the_tests_can_be_copied_as_they_stand():
    first, second = section_block(README, "Quick start"), section_block(README, "Test")
    assert first.splitlines()[0] == "pip install -e ."
    assert f"{BUNDLE_RUN} training" in first
    assert second.splitlines()[-1] == "pytest -n 2 --dist loadfile"
    printed = subprocess.run([ROOT / ".ci" / "run", "--print"], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == second


def bundle_calls():
    """Find every call of a bundle in the pages and in the configs' own comments."""
    pages = [*PAGES, *ROOT.glob("bundles/*/configs/*.yaml")]
    return [(page, call) for page in pages for call in commands(page, BUNDLE_RUN)]


def options_of(call):
    """Pair the options of a call with their values."""
    return {option.removeprefix("--"): value for option, value in zip(call[1::2], call[2::2], strict=True)}


def read_configs(page, given):
    """Read the config files that a call names: of the root, of the page's bundle, or of one that the page makes."""
    files = ast.literal_eval(given) if given.startswith("[") else [given]
    bases = [ROOT, page.parents[1], folder_of_new_bundles(page)]
    base = next(base for base in bases if base and (base / files[0]).is_file())
    parser = ConfigParser()
    parser.read_config([str(base / file) for file in files])
    return parser


@pytest.mark.parametrize(
    ("page", "call"),
    [(page, call) for page, call in bundle_calls() if page.suffix == ".md"],
    ids=lambda value: name(value) if hasattr(value, "parent") else value[0],
)
def test_every_call_of_a_bundle_names_an_id_and_options_of_its_configs(page, call):
    options = options_of(call)
    parser = read_configs(page, options.pop("config_file"))
    assert isinstance(parser[call[0]], list | str)
    of_tracking = DEFAULT_EXP_MGMT_SETTINGS[options.pop("tracking")]["configs"] if "tracking" in options else {}
    assert options.keys() <= {*parser.config, *of_tracking}


def test_every_way_to_use_the_bundle_is_in_the_readme():
    assert {call[0] for page, call in bundle_calls() if page == README} == {"training", "evaluating", "inferring"}


BUNDLES = sorted(path.parent.parent for path in ROOT.glob("bundles/*/configs/train.yaml"))


def bundle_options(bundle):
    """Return the entries of a bundle's train.yaml under its heading of options, with their values."""
    text = (bundle / "configs" / "train.yaml").read_text(encoding="utf-8")
    part = re.search(r"^# ---- options.*?\n(.*?)^(?:settings|# ----)", text, re.M | re.S)
    return yaml.safe_load(part[1])


def page_options(page):
    """Return a page's table of options: name and default, '' where that depends on something."""
    table = re.search(r"^\| option \|.*\n\|[-|]+\n((?:\|.*\n)+)", prose(page), re.M)[1]
    found = {}
    for row in table.splitlines():
        keys, values = (re.findall(r"`([^`]+)`", cell) for cell in row.split("|")[1:3])
        found |= dict.fromkeys(keys, values[0] if len(values) == 1 else "") | dict(zip(keys, values, strict=False))
    return found


def test_the_readme_lists_the_options_that_all_bundles_have():
    assert page_options(README).keys() == set.intersection(*[set(bundle_options(bundle)) for bundle in BUNDLES])


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_a_bundles_page_lists_the_other_options_and_none_that_there_is_not(bundle):
    listed = page_options(bundle / "docs" / "README.md").keys()
    assert listed <= bundle_options(bundle).keys() <= listed | page_options(README).keys()


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_the_pages_know_the_options_defaults(bundle):
    config = bundle_options(bundle)
    for page in (README, bundle / "docs" / "README.md"):
        stated = {key: yaml.safe_load(value) for key, value in page_options(page).items() if value}
        assert stated == {key: config[key] for key in stated}


def test_entries_that_the_readme_overrides_by_their_path_exist():
    parser = read_configs(README, "bundles/openkbp/configs/train.yaml")
    paths = re.findall(r"`--(\w+(?:#\w+)+) [^`]+`", prose(README))
    assert paths
    for path in paths:
        assert path in parser, path


def package_calls():
    """Find every call of the package's own command line in the pages."""
    programs = ("python -m ctan_monai ", "ctan-monai ")
    return [(page, call) for page in PAGES for program in programs for call in commands(page, program)]


@pytest.mark.parametrize(
    ("page", "call"), package_calls(), ids=lambda value: name(value) if hasattr(value, "parent") else " ".join(value)
)
def test_every_call_of_the_package_is_one_that_it_knows(page, call):
    command, rest = get_command(app), list(call)
    while hasattr(command, "commands") and not rest[0].startswith("--"):
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    own = rest[: rest.index("--")] if "--" in rest else rest  # what follows goes to the bundle
    assert {word for word in own if word.startswith("--")} <= known


def test_some_call_of_the_package_is_shown():
    assert package_calls()


def test_markers_that_the_pages_deselect_are_registered():
    setup = IniParser()
    setup.read(ROOT / "setup.cfg")
    known = {line.split(":")[0] for line in setup["tool:pytest"]["markers"].split("\n") if line}
    used = {word for page in PAGES for text in re.findall(r'pytest -m "([^"]+)"', prose(page)) for word in text.split()}
    assert {"slow"} <= used - {"not", "and", "or"} <= known


def test_every_decision_record_is_in_the_index_under_its_own_number():
    folder = ROOT / "docs" / "adr"
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert sorted(links(folder / "README.md")) == records
    numbers = [int(record[:4]) for record in records]
    assert len(set(numbers)) == len(numbers)
    for record, number in zip(records, numbers, strict=True):
        text = (folder / record).read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. "), record
        assert re.search(r"^Status: (proposed|accepted|replaced by)", text, re.M), record


def test_nobody_is_told_to_install_this_package_from_a_registry_where_it_is_not():
    """The name would be whoever's takes it; extras come from a checkout, and packages by their own names."""
    told = re.compile(r"\b(?:pip|uv) install (?!-e )[^\n]*\bctan[-_]monai\b")
    folders = [ROOT / name for name in ("ctan_monai", "docs", "bundles", "benchmarks", "tests", ".ci")]
    files = [path for folder in folders for path in folder.rglob("*")] + list(ROOT.iterdir())
    texts = {
        path: path.read_bytes().decode("utf-8", "replace")
        for path in files
        if path.is_file() and path.stat().st_size < 1e6
    }
    wrong = {str(path): found[0] for path, text in texts.items() if (found := told.search(text))}
    assert wrong == {}


def test_remedies_name_the_extras_of_setup_cfg_and_their_packages():
    setup = IniParser()
    setup.read(ROOT / "setup.cfg")
    calls = [
        re.findall(r"""\binstall\(["'](\w+)["'], (?:["']([^"']+)["']|(_\w+))\)""", path.read_text(encoding="utf-8"))
        for path in (ROOT / "ctan_monai").rglob("*.py")
    ]
    found = [call for each in calls for call in each]
    assert {extra for extra, _, _ in found} >= {"dicom", "export", "fl", "gamma", "mlflow", "mtl", "slurm"}
    for extra, packages, _ in found:
        wanted = setup["options.extras_require"][extra]
        assert all(package in wanted for package in packages.split()), extra
