"""HAM10000: dermatoscopic images, outline and diagnosis of a lesion."""
