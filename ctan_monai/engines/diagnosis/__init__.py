"""Does each part of a multi-task network act? Parts are exchanged while it answers, and their features measured."""
