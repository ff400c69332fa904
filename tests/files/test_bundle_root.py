from __future__ import annotations

import json

import pytest

from ctan_monai.errors import ConfigError
from ctan_monai.files.bundle_root import find_bundle_root


def bundle(folder, name="A bundle", mark="train.yaml"):
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / mark).write_text("")
    (folder / "configs" / "metadata.json").write_text(json.dumps({"name": name}))
    return folder


@pytest.mark.parametrize("start", ["", "bundles", "bundles/openkbp", "bundles/openkbp/configs", "docs/adr"])
def test_a_bundle_is_found_from_the_repository_and_from_within(tmp_path, monkeypatch, start):
    root = bundle(tmp_path / "bundles" / "openkbp")
    bundle(tmp_path / "bundles" / "prostate")
    (tmp_path / "docs" / "adr").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / start)
    assert find_bundle_root("openkbp") == str(root)


def test_another_bundle_in_the_current_folder_is_not_taken_for_it(tmp_path, monkeypatch):
    root = bundle(tmp_path / "bundles" / "openkbp")
    monkeypatch.chdir(bundle(tmp_path / "bundles" / "prostate", name="Prostate"))
    assert find_bundle_root("openkbp") == str(root)


@pytest.mark.parametrize("start", ["", "other", "mine/docs"])
def test_a_bundle_of_ones_own_is_found_from_beside_it(tmp_path, monkeypatch, start):
    root = bundle(tmp_path / "mine", name="mine")
    for folder in ("other", "mine/docs"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / start)
    assert find_bundle_root("mine") == str(root)


def test_a_renamed_folder_is_known_by_its_metadata(tmp_path, monkeypatch):
    monkeypatch.chdir(bundle(tmp_path / "my copy", name="OpenKBP: organs and dose"))
    assert find_bundle_root("openkbp") == str(tmp_path / "my copy")


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_metadata_that_cannot_be_read_does_not_stop_the_search(tmp_path, monkeypatch, text):
    folder = bundle(tmp_path / "my copy")
    (folder / "configs" / "metadata.json").write_text(text)
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError):
        find_bundle_root("openkbp")


def test_elsewhere_one_sentence_says_what_was_looked_for(tmp_path, monkeypatch):
    (tmp_path / "openkbp").mkdir()  # of the right name, but no bundle
    monkeypatch.chdir(tmp_path / "openkbp")
    with pytest.raises(ConfigError) as caught:
        find_bundle_root("openkbp")
    assert str(tmp_path / "openkbp" / "bundles" / "openkbp") in str(caught.value)
    assert "--bundle_root" in caught.value.remedy
