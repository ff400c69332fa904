"""What is trained on submitted labels, and who decides whether it is kept."""

import nibabel as nib
import numpy as np
import pytest

from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.serve.label_tasks import LearnFromLabels
from ctan_monai.serve.labeled import Labeled
from ctan_monai.serve.learn import Options, learn, options_from
from ctan_monai.serve.predictor import Predictor

ORGANS = ("Rectum", "Bladder", "Femur_L", "Femur_R", "CTV")


@pytest.fixture
def predictor(app):
    return Predictor(app, "cpu")


@pytest.fixture
def label(ct, tmp_path):
    """Draw five boxes, numbered in the task's order."""
    image, drawn = nib.load(ct), np.zeros(nib.load(ct).shape, np.uint8)
    for at in range(5):
        drawn[10 * at : 10 * at + 8, 10:30] = at + 1
    write_nifti(drawn, image.affine, tmp_path / "label.nii.gz")
    return tmp_path / "label.nii.gz"


def weights(predictor):
    return (predictor.app.run_dir / "model.pt").read_bytes()


def test_labels_that_were_just_submitted_do_not_decide_and_the_weights_stay(predictor, ct, label):
    old = weights(predictor)
    given = learn(predictor, predictor.tasks[0], [Labeled(ct, label)], Options(epochs=1, learning_rate=0.01))
    assert not given["kept"]
    assert "no case decides" in given["why"]
    assert (given["dice_before"], given["dice_after"], given["deciding_cases"]) == (None, None, 0)
    assert weights(predictor) == old


def test_on_request_they_are_used_and_the_earlier_ones_stay(predictor, ct, label):
    old, epochs = weights(predictor), []
    options = Options(epochs=2, learning_rate=0.01, keep_unjudged=True)
    given = learn(predictor, predictor.tasks[0], [Labeled(ct, label)], options, epochs.append)
    assert given["kept"]
    assert epochs == [1, 2]
    assert given["change_of_values"] == {"dose": 0.0}  # only the task's own layers learned
    second = weights(predictor)
    learn(predictor, predictor.tasks[0], [Labeled(ct, label)], options)
    kept = {name: (predictor.app.run_dir / f"model.{name}.pt").read_bytes() for name in ("previous", "original")}
    assert kept == {"previous": second, "original": old}
    assert len({old, second, weights(predictor)}) == 3


def test_an_earlier_label_decides_and_is_not_learned_from(predictor, ct, label):
    answer = predictor.predict(ct)
    reference = np.asarray(nib.load(label).dataobj)
    each = []
    for number, organ in enumerate(ORGANS, start=1):
        mask, drawn = answer.masks["oar"][organ], reference == number
        each.append(2 * (mask & drawn).sum() / (mask.sum() + drawn.sum()))
    cases = [Labeled(ct, label), Labeled(ct, label, submitted=False)]
    given = learn(predictor, predictor.tasks[0], cases, Options(epochs=1, learning_rate=0.01))
    assert (given["cases"], given["deciding_cases"], given["new_labels"]) == (1, 1, 1)
    assert given["dice_before"] == pytest.approx(np.mean(each), abs=1e-4)
    fallen = any(after < before - 0.02 for before, after in given["dice_by_label"].values())
    assert given["kept"] == (given["dice_after"] >= given["dice_before"] and not fallen)


class Store:
    """As many labels as a test wants."""

    def __init__(self, *labels):
        self.labels = list(labels)

    def labeled(self):
        return self.labels


def test_viewers_get_the_numbers_that_they_draw_bars_of(predictor, ct, label):
    trainer = LearnFromLabels(predictor, predictor.tasks[0])
    assert trainer.stats() == {"best_metric": 0.0, "epoch": 0, "total_epochs": 5}
    store = Store(("a", Labeled(ct, label, key="1")), ("b", Labeled(ct, label, submitted=False, key="1")))
    given = trainer({"max_epochs": 2}, store)
    found = trainer.stats()
    assert found["best_metric"] == given["dice_after" if given["kept"] else "dice_before"]
    assert (found["epoch"], found["total_epochs"]) == (2, 2)
    assert found["total_time"]
    assert "known_labels" not in found


def test_a_label_decides_once_weights_were_kept_while_it_was_there(predictor, ct, label):
    trainer = LearnFromLabels(predictor, predictor.tasks[0])
    first = ("a", Labeled(ct, label, key="1"))
    for _ in range(2):  # asking twice does not make a label an earlier one
        assert trainer({"max_epochs": 1}, Store(first))["deciding_cases"] == 0
    assert trainer({"max_epochs": 1, "keep_unjudged": True}, Store(first))["kept"]
    second = ("b", Labeled(ct, label, key="2"))
    assert trainer({"max_epochs": 1}, Store(first, second))["deciding_cases"] == 1
    again = ("a", Labeled(ct, label, key="3"))  # submitted once more
    assert trainer({"max_epochs": 1}, Store(again))["deciding_cases"] == 0


def test_a_training_that_cannot_be_done_ends_in_the_numbers_too(predictor):
    trainer = LearnFromLabels(predictor, predictor.tasks[0])
    with pytest.raises(DataError, match="no image has a final label"):
        trainer({}, Store())
    assert "no image" in trainer.stats()["why"]


def test_a_label_without_names_that_is_not_complete_is_refused(predictor, ct, tmp_path):
    image = nib.load(ct)
    write_nifti(np.full(image.shape, 2, np.uint8), image.affine, tmp_path / "label.nii.gz")
    with pytest.raises(DataError, match="without names"):
        learn(predictor, predictor.tasks[0], [Labeled(ct, tmp_path / "label.nii.gz")], Options(epochs=1))


def test_options_come_as_a_viewer_sends_them():
    sent = {"max_epochs": "3", "layers": ["all", "task"], "learning_rate": 0.01, "client_id": "x"}
    found = options_from({**sent, "keep_unjudged": "true"})
    assert (found.epochs, found.layers, found.learning_rate, found.batch_size) == (3, "all", 0.01, 4)
    assert found.keep_unjudged
    assert options_from({"max_epochs": 2.0, "train_batch_size": 1}) == Options(epochs=2)
    for wrong in ({"max_epochs": "many"}, {"keep_unjudged": "perhaps"}, {"layers": []}):
        with pytest.raises(ConfigError):
            options_from(wrong)


@pytest.mark.parametrize("number", [1.7, "1.7", True, None, float("inf"), float("nan"), "1e400", [True]])
def test_what_is_no_whole_number_is_no_number_of_epochs(number):
    for option in ("max_epochs", "batch_size"):
        with pytest.raises(ConfigError, match=f"{option}.*cannot be used"):
            options_from({option: number})


@pytest.mark.parametrize(
    ("slip", "meant"),
    [("max_epoch", "max_epochs"), ("epochs", "max_epochs"), ("layer", "layers"), ("Layers", "layers")],
)
def test_a_misspelt_option_is_named_instead_of_trained_without(slip, meant):
    with pytest.raises(ConfigError, match=f"no option '{slip}'.*Did you mean {meant}"):
        options_from({slip: 1})
