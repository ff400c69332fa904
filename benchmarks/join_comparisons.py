"""Join comparisons of `ctan-monai compare` with different options but the same test cases into one table.

    python benchmarks/join_comparisons.py FIRST SECOND[=SUFFIX] ... --out FOLDER
    python -m ctan_monai report FOLDER

The first one's reference stays the reference; rows of the others get the suffix. Runs are linked, not copied. What the
options differ in, their commands say, and no table does: state it beside the table.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ctan_monai.files.json_files import read_json, write_json
from ctan_monai.report.compare_files import BASELINES_FILE, COSTS_FILE, GROUPS_FILE, PLAN_FILE, RUNS_FOLDER


def rows_of(folder: Path, suffix: str, out: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Link the runs of a comparison, and return its rows and costs under their new names."""
    plan, costs, rows = read_json(folder / PLAN_FILE), read_json(folder / COSTS_FILE) or {}, []
    for row in plan["rows"]:
        name = row["name"] + suffix
        (out / RUNS_FOLDER).mkdir(parents=True, exist_ok=True)
        os.symlink((folder / RUNS_FOLDER / row["name"]).resolve(), out / RUNS_FOLDER / name)
        rows.append({**row, "name": name})
    return rows, {name + suffix: cost for name, cost in costs.items()}


def main() -> None:
    """Join."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparisons", nargs="+", help="folder, or folder=suffix")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    first = Path(arguments.comparisons[0].split("=")[0])
    plan, rows, costs = read_json(first / PLAN_FILE), [], {}
    for entry in arguments.comparisons:
        folder, _, suffix = entry.partition("=")
        found = rows_of(Path(folder), suffix, arguments.out)
        rows += found[0]
        costs |= found[1]
    write_json({**plan, "rows": rows, "candidate": rows[-1]["method"]}, arguments.out / PLAN_FILE)
    write_json(costs, arguments.out / COSTS_FILE)
    for name in (GROUPS_FILE, Path(BASELINES_FILE).parent.name):  # the latter is a folder
        if (first / name).exists():
            os.symlink((first / name).resolve(), arguments.out / name)


if __name__ == "__main__":
    main()
