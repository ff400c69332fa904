"""One set of metrics per kind of task, the official OpenKBP scores, DVHs, and the paper's Delta."""
