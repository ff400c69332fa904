from __future__ import annotations

import numpy as np
import pytest
from tabular_data import AGE, DOSE, GRADE, TUMOUR, volume_layout

from ctan_monai.data.datasets.tabular.checks import check_table
from ctan_monai.data.datasets.tabular.phantom import draw_phantom
from ctan_monai.data.datasets.tabular.reader import read_case
from ctan_monai.data.datasets.tabular.rows import read_rows
from ctan_monai.data.datasets.tabular.synthetic import sample_table
from ctan_monai.tasks import Classification, Regression, Segmentation

SIDES = Segmentation("lungs", ["Lung_L", "Lung_R"], overlapping=True, mirror_pairs=[("Lung_L", "Lung_R")])
FINDINGS = Classification("findings", ["a", "b"], multilabel=True)
DOSE_IN_REGION = Regression("dose", "Gy", 70.0, region="mask")


@pytest.mark.parametrize(
    ("tasks", "channels", "kind", "dims"),
    [
        ([TUMOUR, GRADE, DOSE, AGE], ["ct"], "ct", 2),
        ([SIDES, DOSE_IN_REGION], ["t1", "t2"], "mr", 3),
        ([TUMOUR, FINDINGS], ["red", "green", "blue"], "rgb", 2),
        (
            [Segmentation("lesion", ["lesion"], overlapping=True), DOSE, Classification("ill", ["ill"])],
            ["x"],
            "gray",
            2,
        ),
    ],
    ids=["slices of CT", "MR volumes", "color images", "gray images"],
)
def test_synthetic_cases_of_any_kind_are_without_fault(tmp_path, tasks, channels, kind, dims):
    layout = volume_layout(tasks, channels, spatial_dims=dims)
    found = check_table(sample_table(tmp_path, layout, kind), None, layout, progress=False)
    assert found.problems == ()
    assert found.cases == {"train": 12, "validation": 4, "test": 4}


def test_what_is_to_be_found_can_be_seen():
    """A first label is brighter than the body, a class brightens it further, the dose is highest in it."""
    layout = volume_layout([TUMOUR, GRADE, DOSE])
    for number in range(4):
        phantom = draw_phantom(layout, number, (48, 48, 16))
        core = phantom.masks["core"]
        body = (phantom.image > 0.5) & ~core & ~phantom.masks["edema"]
        assert np.median(phantom.image[core]) > phantom.image[body].max()
        assert phantom.volumes["dose"][core].mean() > 2 * phantom.volumes["dose"][body].mean()
        assert (phantom.image[core].max() > 2.2) == (phantom.values["grade"] == 1)


def test_a_synthetic_label_map_of_groups_holds_every_group(tmp_path):
    regions = Segmentation("regions", ["whole", "core", "active"], overlapping=True)
    groups = {"regions": {"whole": [1, 2, 4], "core": [1, 4], "active": 4}}
    layout = volume_layout([regions], ["mr"], label_values=groups)
    table = sample_table(tmp_path, layout, "mr")
    assert check_table(table, None, layout, progress=False).problems == ()
    case = read_case(read_rows(table, None, layout)[0], layout)
    assert 0 < case.masks["active"].sum() < case.masks["core"].sum() < case.masks["whole"].sum()
    assert (case.masks["core"] <= case.masks["whole"]).all()
