"""Images and HTML pages from the files of a run."""

from ctan_monai.report.case_images import CaseImages, draw_cases
from ctan_monai.report.curves import curves_figure
from ctan_monai.report.dose_report import report_doses
from ctan_monai.report.dvh_plot import dvh_figure
from ctan_monai.report.layout import CaseView
from ctan_monai.report.overlay import overlay_figure
from ctan_monai.report.run_report import report_predictions, report_run

__all__ = [
    "CaseImages",
    "CaseView",
    "curves_figure",
    "draw_cases",
    "dvh_figure",
    "overlay_figure",
    "report_doses",
    "report_predictions",
    "report_run",
]
