"""DICOM CT, RTSTRUCT, RTPLAN and RTDOSE in: found, linked by UID, checked, and put on the CT's grid.

A walk of one patient: ``scan`` reads headers, ``link`` says which CT, structure set and dose belong together,
``series`` makes a volume of the CT, ``masks`` of the contours, ``dose`` of the dose, ``patient`` a case of all three,
and ``prepare`` does it for a folder.

Positions are DICOM's own: LPS, in mm. Only ``Grid.affine_ras`` leaves this frame.
"""
