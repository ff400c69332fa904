from __future__ import annotations

import pytest

from ctan_monai.tasks import Classification, Regression, Segmentation, Task


@pytest.fixture
def tasks() -> list[Task]:
    return [
        Segmentation("oar", ["Cord", "Stem"]),
        Regression("dose", unit="Gy", scale=80.0),
        Classification("severe", ["severe"]),
    ]
