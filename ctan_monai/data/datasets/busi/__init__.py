"""BUSI: breast ultrasound, outline of a tumor and whether it is malignant."""
