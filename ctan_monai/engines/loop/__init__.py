"""Trainer and evaluator: batches, inference, precision, gradients, samplers."""
