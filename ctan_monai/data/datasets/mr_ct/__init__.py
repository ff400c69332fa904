"""MR and CT of the same patients, with masks, as NIfTI in a folder for each."""
