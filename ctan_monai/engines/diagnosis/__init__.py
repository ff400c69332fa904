"""Diagnosis of multi-task networks: the effect of exchanging each part, and measures of its features."""
