import csv

import torch
from ignite.engine import Engine

from ctan_monai.engines.handlers.case_metrics_writer import WriteConfusion
from ctan_monai.metrics.confusion import ClassDetails
from ctan_monai.tasks import Classification

LESION = Classification("lesion", ["nv", "=mel"])


def test_the_table_has_a_row_for_each_truth_and_no_formula(tmp_path):
    details = ClassDetails(LESION)
    for number, (truth, answer) in enumerate([(0, 0), (0, 1), (0, 1), (1, 1)]):
        target = {"lesion": torch.tensor(truth), "lesion_present": torch.tensor(True)}
        details.update(str(number), {"lesion": torch.eye(2)[answer]}, target, ())
    engine = Engine(lambda *_: None)
    WriteConfusion(details, tmp_path).attach(engine)
    engine.run([0])
    rows = list(csv.reader((tmp_path / "confusion_lesion.csv").open()))
    assert rows == [["truth", "nv", "'=mel"], ["nv", "1", "2"], ["'=mel", "0", "1"]]
