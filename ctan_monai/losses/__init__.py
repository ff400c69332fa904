"""One loss per kind of task, and the weightings that join them."""
