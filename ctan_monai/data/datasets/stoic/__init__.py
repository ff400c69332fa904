"""CT of the chest: read from MetaImage or NIfTI, cut to the lungs, brought to a network's grid."""
