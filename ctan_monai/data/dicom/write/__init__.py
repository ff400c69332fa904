"""Writers of DICOM RTDOSE, RTSTRUCT, RTPLAN and SEG for an existing CT, and of a synthetic CT.

``CtReference.read`` takes from the CT what a writer needs, ``write_rtdose``, ``write_rtstruct``, ``write_rtplan`` and
``write_seg`` write one object each, ``write_ct_series`` a CT that was made of another image. Every object says which
software and version made it, and from what (``Origin``); none is approved, none replaces a file. Clock and source of
UIDs are arguments, so the same call can write the same bytes.
"""

from ctan_monai.data.dicom.write.common import Written
from ctan_monai.data.dicom.write.ct import new_study, write_ct_series
from ctan_monai.data.dicom.write.identity import Clock, SeededUids, UidSource, new_uid
from ctan_monai.data.dicom.write.reference import CtReference, Origin, predicted_by
from ctan_monai.data.dicom.write.rtdose import write_rtdose
from ctan_monai.data.dicom.write.rtplan import Prescription, write_rtplan
from ctan_monai.data.dicom.write.rtstruct import write_rtstruct
from ctan_monai.data.dicom.write.seg import write_seg

__all__ = [
    "Clock",
    "CtReference",
    "Origin",
    "Prescription",
    "SeededUids",
    "UidSource",
    "Written",
    "new_study",
    "new_uid",
    "predicted_by",
    "write_ct_series",
    "write_rtdose",
    "write_rtplan",
    "write_rtstruct",
    "write_seg",
]
