import io

import numpy as np
import pytest
from PIL import Image

from ctan_monai.errors import DataError
from ctan_monai.report import report_predictions
from ctan_monai.report.confusion_plot import confusion_figure

TABLE = "truth,nv,mel,df\nnv,8,2,0\nmel,1,3,0\ndf,0,0,0\n"


def test_counts_are_written_and_the_truth_runs_down(tmp_path):
    (tmp_path / "confusion_dx.csv").write_text(TABLE)
    figure = confusion_figure(tmp_path / "confusion_dx.csv")
    (panel,) = figure.axes
    texts = {text.get_position(): text.get_text() for text in panel.texts}
    assert texts[1, 0] == "2"  # column mel, row nv
    assert texts[0, 1] == "1"
    assert [label.get_text() for label in panel.get_yticklabels()] == ["nv", "mel", "df"]
    shares = panel.images[0].get_array()
    assert np.allclose(shares[:2].sum(1), 1)
    assert not shares[2].any()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert Image.open(buffer).size[0] > 200


@pytest.mark.parametrize("text", ["", "truth,a\n", "truth,a,b\na,1,x\nb,0,1\n", "truth,a,b\na,1\nb,0\n"])
def test_a_table_that_is_none_is_named(tmp_path, text):
    (tmp_path / "confusion_dx.csv").write_text(text)
    with pytest.raises(DataError, match=r"confusion_dx\.csv: it is no confusion matrix"):
        confusion_figure(tmp_path / "confusion_dx.csv")


def test_an_evaluations_page_shows_it(predictions):
    (predictions / "confusion_dx.csv").write_text(TABLE)
    (predictions / "summary.json").write_text('{"cases": 2, "metrics": {"dx_accuracy": 0.5}}')
    assert "confusion matrix" in report_predictions(predictions).read_text()
    assert (predictions / "confusion_dx.png").read_bytes().startswith(b"\x89PNG")
