"""Serving of trained networks with MONAI Label: inference on single images, and learning from corrected labels."""
