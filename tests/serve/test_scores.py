"""How unsure the network was, and what is labeled next."""

from types import SimpleNamespace

from ctan_monai.serve.judge import Scores, most_uncertain
from ctan_monai.serve.label_tasks import MostUncertain


def test_scores_outlive_the_program_and_belong_to_a_version(tmp_path):
    Scores(tmp_path / "scores.json").put("a", "v1", 0.5)
    Scores(tmp_path / "scores.json").put("b", "v2", 0.25)
    assert Scores(tmp_path / "scores.json").of() == {"a": 0.5, "b": 0.25}
    assert Scores(tmp_path / "scores.json").of("v2") == {"b": 0.25}


def test_a_damaged_file_counts_as_empty(tmp_path):
    path = tmp_path / "scores.json"
    for content in ("{", "[1]", '{"a": 3}', '{"a": ["v", "x"]}'):
        path.write_text(content)
        assert Scores(path).of() == {}
    Scores(path).put("a", "v", 1.0)
    assert Scores(path).of() == {"a": 1.0}


def test_the_highest_score_of_the_images_that_are_left_is_chosen():
    scores = {"a": 0.1, "b": 0.9, "c": 0.9, "d": 2.0}
    assert most_uncertain(["a", "c", "b"], scores) == ("b", 0.9)
    assert most_uncertain(["x"], scores) is None


def test_without_scores_the_first_image_comes_next_and_without_images_none(tmp_path):
    strategy = MostUncertain(Scores(tmp_path / "scores.json"))
    store = SimpleNamespace(get_unlabeled_images=lambda: ["b", "a"])
    assert strategy({}, store) == {"id": "a", "weight": 0.0}
    strategy.scores.put("b", "v", 0.123456)
    assert strategy({}, store) == {"id": "b", "weight": 0.1235}
    assert strategy({}, SimpleNamespace(get_unlabeled_images=list)) is None
