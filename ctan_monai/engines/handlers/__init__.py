"""Handlers of trainers and evaluators."""
