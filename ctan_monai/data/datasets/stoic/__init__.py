"""STOIC: chest CT from MetaImage or NIfTI, cropped to the lungs and resampled."""
