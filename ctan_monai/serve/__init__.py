"""A trained network behind a server: answers for one image at a time, and learning from corrected labels."""
