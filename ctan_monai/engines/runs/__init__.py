"""The folder of a run: settings, records, weights, resuming."""
