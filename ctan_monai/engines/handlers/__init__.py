"""What is attached to a trainer or evaluator, and called at its events."""
