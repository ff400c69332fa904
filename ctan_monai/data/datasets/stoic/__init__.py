"""CT of the chest: read from MetaImage or NIfTI, cut to the lungs, resampled to a network's grid."""
