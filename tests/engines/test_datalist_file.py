import json

from ctan_monai.data.datalist import read_choice
from ctan_monai.engines import write_datalist


def test_the_cases_of_each_split_are_written_as_a_datalist_takes_them(tmp_path):
    train = [{"case": "b", "file": "b.case", "slice": 3}, {"case": "b", "file": "b.case", "slice": 4}, {"case": "a"}]
    write_datalist(tmp_path, {"train": train, "validation": [{"case": "c"}], "test": []})
    expected = {"train": ["b", "a"], "validation": ["c"], "test": []}
    assert read_choice(tmp_path / "datalist.json") == json.loads((tmp_path / "datalist.json").read_text()) == expected
