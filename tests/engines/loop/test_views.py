"""Test-time augmentation by mirror images."""

import pytest
import torch

from ctan_monai.engines.loop.views import MirrorViews
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification, Regression, Segmentation

EYES = Segmentation("eyes", ["Left", "Right", "Brain"], mirror_pairs=[["Left", "Right"]])
DOSE = Regression("dose", "Gy", 80.0)
GRADE = Classification("grade", ["low", "high"])


def answer(image, network):
    """Answer by what lies where: Left is bright in the first half of the second axis, Right in the other."""
    width = image.shape[3] // 2
    left, right = image.clone(), image.clone()
    left[:, :, :, width:], right[:, :, :, :width] = 0, 0
    return {
        "eyes": torch.cat([-image, left, right, 0.5 * image], 1),
        "dose": 2 * image,
        "grade": torch.stack([image.mean((1, 2, 3)), image[:, 0, 0, 0]], 1),
    }


def test_a_network_that_knows_left_from_right_answers_alike_for_the_mirror_image():
    image = torch.rand(2, 1, 4, 6)
    straight, back = MirrorViews([EYES, DOSE], ["ct"], axes=[1])(answer, image, None)
    assert torch.equal(straight["eyes"], back["eyes"])
    assert torch.equal(straight["dose"], back["dose"])


def test_each_axis_is_a_view_and_one_answer_per_image_is_left_as_it_is():
    image = torch.rand(2, 1, 4, 6)
    views = MirrorViews([GRADE, DOSE], ["ct"], axes=[0, 1])(answer, image, None)
    assert len(views) == 3
    assert views[1]["grade"][:, 1].tolist() == image[:, 0, -1, 0].tolist()
    assert views[2]["grade"][:, 1].tolist() == image[:, 0, 0, -1].tolist()
    assert all(torch.equal(view["dose"], 2 * image) for view in views)


def test_contours_among_the_channels_change_places():
    seen = []
    MirrorViews([EYES], ["ct", "Left", "Right"], axes=[1])(lambda x, n: seen.append(x) or {"eyes": x}, *channels())
    assert torch.equal(seen[1], torch.flip(seen[0][:, [0, 2, 1]], (3,)))


def channels():
    return torch.rand(1, 3, 2, 4), None


@pytest.mark.parametrize("off", [False, "false"])
def test_nothing_is_mirrored_where_it_is_off_or_cannot_be(off):
    assert len(MirrorViews([DOSE], ["ct"], enabled=off)(answer, torch.rand(1, 1, 2, 2), None)) == 1
    with pytest.raises(ConfigError, match="Count axes from 0"):
        MirrorViews([DOSE], ["ct"], axes=[-1])
    with pytest.raises(ConfigError, match="mirror: 'perhaps' is neither"):
        MirrorViews([DOSE], ["ct"], enabled="perhaps")
