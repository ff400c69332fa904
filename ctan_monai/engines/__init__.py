"""MONAI trainers and evaluators assembled: batches, inference, handlers, checkpoints, run folders."""
