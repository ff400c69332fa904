"""Reading and writing of DICOM.

A walk of one patient: ``read.scan`` reads headers, ``read.link`` says which CT, structure set and dose belong together,
``read.series`` makes a volume of the CT, ``read.masks`` of the contours, ``read.dose_sum`` of the dose, and
``read.patient`` a case of all three. A folder of patients is prepared by ``datasets.prostate.prepare``.

Positions are DICOM's own: LPS, in mm. Only ``Grid.affine_ras`` leaves this frame.
"""

from __future__ import annotations

from ctan_monai.lazy_names import lazy_names

_PUBLIC = {
    "CtReference": "write",
    "DicomOptions": "read.options",
    "Origin": "write",
    "mask_of": "read.masks",
    "predicted_by": "write",
    "read_ct_series": "read.series",
    "read_dose": "read.dose_file",
    "read_rois": "read.contours",
    "write_rtdose": "write",
    "write_rtplan": "write",
    "write_rtstruct": "write",
    "write_seg": "write",
}

__all__ = list(_PUBLIC)

__getattr__, __dir__ = lazy_names(__name__, _PUBLIC)
