"""A clinic's CT, RTSTRUCT, RTPLAN and RTDOSE prepared for training, or synthetic patients in their place."""
