"""The folder of an app: complete, made of the bundle and the run, and refused where something is wrong."""

import ast
import json
import shutil

import pytest
from typer.testing import CliRunner

from ctan_monai.apps.main import app as program
from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.serve.app_folder import read_app
from ctan_monai.serve.write_app import write_app


def test_an_app_holds_the_bundles_configs_and_the_runs_weights(app, run_dir, repository):
    assert (app.run_dir / "model.pt").read_bytes() == (run_dir / "model.pt").read_bytes()
    assert (app.run_dir / "settings.json").is_file()
    given = repository / "bundles" / "prostate" / "configs" / "inference.yaml"
    assert (app.bundle_root / "configs" / "inference.yaml").read_text() == given.read_text()
    assert (app.bundle, app.upload_mib) == ("prostate", 1024)


def test_what_it_runs_is_python_without_anything_left_to_fill_in(app):
    for name in ("main.py", "start.py"):
        text = (app.root / name).read_text()
        ast.parse(text)
        assert "{{" not in text
    assert "prostate" in (app.root / "main.py").read_text()
    assert "* `dose`: Regression" in (app.root / "README.md").read_text()


def test_the_server_is_asked_to_listen_to_this_machine_only(app):
    assert '"--host", "127.0.0.1"' in (app.root / "start.py").read_text()


def test_the_command_writes_it_and_says_how_to_start_it(run_dir, tmp_path, repository):
    bundle = repository / "bundles" / "prostate"
    out = tmp_path / "served"
    given = ["label-app", "--bundle", str(bundle), "--run", str(run_dir), "--out", str(out), "--upload-mib", "5"]
    done = CliRunner().invoke(program, given)
    assert done.exit_code == 0, done.output
    assert "--host 127.0.0.1" in done.output
    assert read_app(out).upload_mib == 5


def test_web_pages_that_may_ask_are_written_down_and_checked(run_dir, tmp_path, repository):
    given = ["label-app", "--bundle", str(repository / "bundles" / "prostate"), "--run", str(run_dir)]
    pages = ["--origin", "https://Viewer.example.org", "--origin", "http://127.0.0.1:3000"]
    assert CliRunner().invoke(program, [*given, "--out", str(tmp_path / "a"), *pages]).exit_code == 0
    assert read_app(tmp_path / "a").origins == ("https://viewer.example.org", "http://127.0.0.1:3000")
    assert CliRunner().invoke(program, [*given, "--out", str(tmp_path / "b"), "--origin", "a page"]).exit_code != 0
    assert not (tmp_path / "b").exists()


def test_an_app_of_before_has_none(app):
    content = json.loads((app.root / "app.json").read_text())
    del content["origins"]
    (app.root / "app.json").write_text(json.dumps(content))
    assert read_app(app.root).origins == ()


def test_a_folder_that_is_in_use_is_left_alone(app, run_dir, repository):
    with pytest.raises(ConfigError, match="is there already"):
        write_app(repository / "bundles" / "prostate", run_dir, app.root)


def test_no_app_is_written_without_a_bundle_or_weights(run_dir, tmp_path, repository):
    with pytest.raises(ConfigError, match=r"inference\.yaml"):
        write_app(tmp_path, run_dir, tmp_path / "app")
    with pytest.raises(CheckpointError, match="name the folder of a run"):
        write_app(repository / "bundles" / "prostate", tmp_path, tmp_path / "app")
    with pytest.raises(ConfigError, match="MiB"):
        write_app(repository / "bundles" / "prostate", run_dir, tmp_path / "app", upload_mib=0)
    assert not (tmp_path / "app").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"format": "another"}', '{"format": "ctan_monai label app 1"}'])
def test_a_damaged_app_says_what_to_do(app, content):
    (app.root / "app.json").write_text(content)
    with pytest.raises(ConfigError, match="label-app"):
        read_app(app.root)


def test_a_limit_that_is_none_is_refused(app):
    content = json.loads((app.root / "app.json").read_text())
    (app.root / "app.json").write_text(json.dumps({**content, "upload_mib": -1}))
    with pytest.raises(ConfigError, match="upload_mib"):
        read_app(app.root)


def test_the_key_of_pseudonyms_does_not_come_along(run_dir, tmp_path, repository):
    bundle = tmp_path / "prostate"
    shutil.copytree(repository / "bundles" / "prostate" / "configs", bundle / "configs")
    for name in (".pseudonym.key", "renamed.key"):
        (bundle / "configs" / name).write_text("00" * 32)
    made = write_app(bundle, run_dir, tmp_path / "app")
    assert not list(made.root.rglob("*.key")) + list(made.root.rglob(".pseudonym*"))
    assert (made.bundle_root / "configs" / "inference.yaml").is_file()
