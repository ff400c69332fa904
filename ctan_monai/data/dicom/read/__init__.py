"""Readers of DICOM CT, RTSTRUCT, RTPLAN and RTDOSE."""
