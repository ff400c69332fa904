import json

from ctan_monai.data.lists.datalist import read_choice
from ctan_monai.engines import write_datalist


def test_the_cases_of_each_split_are_written_as_a_datalist_takes_them(tmp_path):
    train = [{"case": "b", "file": "b.case", "slice": 3}, {"case": "b", "file": "b.case", "slice": 4}, {"case": "a"}]
    write_datalist(tmp_path, {"train": train, "validation": [{"case": "c"}], "test": []})
    expected = {"train": ["b", "a"], "validation": ["c"], "test": []}
    assert not (tmp_path / "data.json").exists()
    assert read_choice(tmp_path / "datalist.json") == json.loads((tmp_path / "datalist.json").read_text()) == expected


def test_it_is_kept_too_whether_the_cases_are_synthetic_and_how_many_there_are(tmp_path):
    write_datalist(tmp_path, {"train": [{"case": "b", "slice": 3}, {"case": "b", "slice": 4}], "test": []}, True)
    assert json.loads((tmp_path / "data.json").read_text()) == {"synthetic": True, "cases": {"train": 1, "test": 0}}
