"""Reading and writing of DICOM.

A walk of one patient: ``read.scan`` reads headers, ``read.link`` says which CT, structure set and dose belong together,
``read.series`` makes a volume of the CT, ``read.masks`` of the contours, ``read.dose_sum`` of the dose, and
``read.patient`` a case of all three. A folder of patients is prepared by ``datasets.dicom_rt.prepare``.

Positions are DICOM's own: LPS, in mm. Only ``Grid.affine_ras`` leaves this frame.
"""

from __future__ import annotations

from ctan_monai.lazy_names import by_name, lazy_names

_PUBLIC = by_name(
    """
    read.contours: read_rois
    read.dose_file: read_dose
    read.masks: mask_of
    read.options: DicomOptions
    read.series: read_ct_series
    write: CtReference Origin predicted_by write_rtdose write_rtplan write_rtstruct write_seg
    """
)

__all__ = list(_PUBLIC)

__getattr__, __dir__ = lazy_names(__name__, _PUBLIC)
