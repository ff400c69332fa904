"""Names of the files of a comparison's folder."""

from __future__ import annotations

PLAN_FILE = "compare.json"
RUNS_FOLDER = "runs"
COMMANDS_FILE = "commands.sh"
