import numpy as np
import pytest

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.lists.balance import class_counts, class_weights, classes_of
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Classification

LESION = Classification("lesion", ["nv", "mel", "df"])


@pytest.fixture
def items(tmp_path):
    """Six nv, two mel, none df, one unknown."""
    found = []
    for number, label in enumerate([0] * 6 + [1] * 2 + [None]):
        path = tmp_path / f"{number}.case"
        values = {} if label is None else {"lesion": label}
        write_case(path, Case(str(number), {"red": np.ones((4, 4), np.uint8)}, {}, np.eye(4), values))
        found.append({"case": str(number), "file": str(path)})
    return found


def test_classes_are_counted_and_unknown_ones_are_not(items):
    assert classes_of(items, LESION) == [0] * 6 + [1] * 2 + [None]
    assert class_counts(items, LESION) == [6, 2, 0]


@pytest.mark.parametrize(("rule", "ratio"), [("equal", 1.0), ("root", 3**0.5), ("inverse", 3.0)])
def test_weights_keep_the_mean_over_the_items_and_absent_classes_count_one(items, rule, ratio):
    nv, mel, df = class_weights(items, LESION, rule)
    assert mel / nv == pytest.approx(ratio)
    assert (6 * nv + 2 * mel) / 8 == pytest.approx(1)
    assert df == 1


def test_inverse_weights_give_every_class_the_same_say(items):
    nv, mel, _ = class_weights(items, LESION, "inverse")
    assert 6 * nv == pytest.approx(2 * mel)


def test_what_cannot_be_balanced_is_refused(items):
    with pytest.raises(ConfigError, match="class_weights: 'sqrt' is unknown"):
        class_weights(items, LESION, "sqrt")
    with pytest.raises(ConfigError, match="do not exclude each other"):
        classes_of(items, Classification("lesion", ["a", "b"], multilabel=True))


def test_a_label_that_the_task_does_not_have_is_named(items):
    write_case(items[0]["file"], Case("0", {"red": np.ones((4, 4), np.uint8)}, {}, np.eye(4), {"lesion": 2}))
    with pytest.raises(DataError, match=r"0\.case: the label of lesion is 2, expected 0 to 1"):
        classes_of(items, Classification("lesion", ["a", "b"]))
