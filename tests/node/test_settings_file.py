"""Settings are checked at the start: what cannot be used is named with its file, its entry and the remedy."""

import pytest
import yaml

from ctan_monai.errors import ConfigError
from ctan_monai.node.settings_file import read_settings

GOOD = {
    "folder": "node",
    "quiet_s": 5,
    "destinations": {"pacs": {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": 4242}},
    "rules": [
        {
            "name": "pelvis",
            "series_description": "pelvis|prostate",
            "send_to": ["pacs"],
            "options": {"formats": ["seg"]},
        },
        {"name": "mr", "run": "bundle/runs/ctan", "modality": "MR", "body_part": "^PELVIS$", "send_to": []},
    ],
}


@pytest.fixture
def write(tmp_path):
    run = tmp_path / "bundle" / "runs" / "ctan"
    run.mkdir(parents=True)
    (run / "model.pt").touch()
    (tmp_path / "bundle" / "configs").mkdir()
    (tmp_path / "bundle" / "configs" / "inference.yaml").touch()

    def write(content):
        path = tmp_path / "node.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path, run

    return write


def test_rules_choose_by_modality_class_description_and_body_part(write, tmp_path):
    settings = read_settings(*write(GOOD))
    assert settings.folder == tmp_path / "node"
    assert settings.quiet_s == 5.0
    assert settings.host == "127.0.0.1"
    assert [rule.bundle for rule in settings.rules] == [tmp_path / "bundle"] * 2
    pelvis, mr = settings.rules
    assert settings.rule_for("CT", "1.2", "CT PELVIS 3mm", "") is pelvis
    assert settings.rule_for("CT", "1.2", "Thorax", "") is None
    assert settings.rule_for("MR", "1.2", "anything", "pelvis") is mr
    assert settings.rule_for("MR", "1.2", "anything", "PELVIS AND LEG") is None


def changed(**entries):
    return {**GOOD, **entries}


def in_rule(**entries):
    return changed(rules=[{**GOOD["rules"][0], **entries}])


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("a: [", "cannot be read"),
        ("a: 1\na: 2", "stands there twice"),
        (changed(colour="red"), "colour: there is no such entry"),
        (changed(rules=[]), "rules: there is none"),
        (changed(quiet_s=0), "quiet_s: 0 was found"),
        (changed(quiet_s="soon"), "quiet_s: 'soon' was found, expected a number"),
        (changed(jobs=True), "jobs: True was found, expected a whole number"),
        (changed(port=70000), "port: 70000 is no port"),
        (changed(ae_title="A TITLE THAT IS TOO LONG"), "is no AE title"),
        (changed(host="0.0.0.0"), "anybody could send to 0.0.0.0"),  # noqa: S104
        (changed(host="scanner"), "'scanner' is no IP address"),
        (changed(addresses=["10.0.0"]), "'10.0.0' is no IP address"),
        (changed(destinations={"pacs": {"ae_title": "X", "port": 1}}), "destinations: pacs: host: it is missing"),
        (in_rule(send_to=["elsewhere"]), "rules: 1: send_to: 'elsewhere' is no destination"),
        (in_rule(series_description="("), "is no regular expression"),
        (in_rule(run="nowhere"), "rules: 1: run: there is no"),
        (in_rule(options={"input": "/"}), "input is set by the node"),
        (in_rule(options={"formats": "$print()"}), "begins with $"),
        (in_rule(modalty="CT"), "rules: 1: modalty: there is no such entry"),
        (changed(rules=[GOOD["rules"][0]] * 2), "two are called 'pelvis'"),
    ],
)
def test_what_cannot_be_used_is_named(content, named, write):
    with pytest.raises(ConfigError) as refused:
        read_settings(*write(content))
    assert named in str(refused.value)
    assert "node.yaml" in str(refused.value)
    assert "Remedy: " in str(refused.value)


def test_a_rule_without_a_run_needs_one_from_the_command_line(write):
    path, _ = write(GOOD)
    with pytest.raises(ConfigError, match="rules: 1: run: it is missing"):
        read_settings(path)


@pytest.mark.parametrize(
    ("changed_to", "named"),
    [
        ({"stow_token": "none"}, "stow_token: "),
        ({"stow_token": "short"}, "holds no token of at least 16"),
        ({"stow_port": -1}, "stow_port: -1 was found"),
        ({"host": "192.0.2.1", "callers": ["A"], "addresses": ["192.0.2.2"], "stow_port": 8051}, "by STOW-RS"),
        ({"destinations": {"pacs": {"url": "ftp://x"}}}, "destinations: pacs: url: 'ftp://x' is no URL"),
        ({"destinations": {"pacs": {"url": "http://u:p@x/"}}}, "is no URL of a service"),
        (
            {"destinations": {"pacs": {"url": "http://x", "port": 1}}},
            "destinations: pacs: port: there is no such entry",
        ),
        ({"destinations": {"pacs": {"url": "http://x", "token": "none"}}}, "destinations: pacs: token: "),
    ],
)
def test_what_cannot_be_used_of_stow_is_named(changed_to, named, write, tmp_path):
    (tmp_path / "short").write_text("123")
    with pytest.raises(ConfigError) as refused:
        read_settings(*write(changed(**changed_to)))
    assert named in str(refused.value)
    assert "node.yaml" in str(refused.value)


def test_a_service_is_a_destination(write, tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef\n")
    service = {"url": "https://pacs.example/dicom-web", "token": "token"}
    settings = read_settings(*write(changed(destinations={"pacs": service}, stow_port=8051, stow_token="token")))  # noqa: S106
    assert settings.destinations["pacs"].url == "https://pacs.example/dicom-web"
    assert (settings.stow_port, settings.stow_token) == (8051, tmp_path / "token")
