"""Trainer and evaluator: batch preparation, inference, precision, gradients, samplers."""
