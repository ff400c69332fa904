import json

import pytest

from ctan_monai.engines.runs.manifest import run_setting
from ctan_monai.errors import CheckpointError


def test_a_option_is_what_it_was_in_training(tmp_path):
    (tmp_path / "settings.json").write_text(json.dumps({"image_size": [96, 128], "datalist": None}))
    assert run_setting(tmp_path, "image_size") == [96, 128]
    assert run_setting(str(tmp_path), "datalist") is None


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"method": "ctan"}'])
def test_what_the_run_does_not_say_is_asked_for_by_its_flag(tmp_path, content):
    if content is not None:
        (tmp_path / "settings.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"settings\.json.*--image_size"):
        run_setting(tmp_path, "image_size")
