"""The folds of a comparison: that they divide the cases by patient or lesion, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctan_monai.apps.comparing.bundle import Bundle, read_overrides
from ctan_monai.apps.comparing.plan import Plan
from ctan_monai.data.lists.leakage import Datalists, groups_of
from ctan_monai.data.lists.splits import SPLITS
from ctan_monai.errors import DataError
from ctan_monai.files.json_files import write_json
from ctan_monai.report.compare_files import GROUPS_FILE

_REMEDY = "Leave the split to --folds, or mend the table's column fold; and give no --datalist that names splits."


def check_folds(plan: Plan, out: Path, made: Bundle) -> None:
    """List the test sets of all folds, check that they divide the cases, and write groups.json.

    Every row and seed gets the same folds, for they depend on the bundle's ``split_seed`` only.

    Args:
        plan: of the comparison; nothing is done without folds.
        out: its folder.
        made: the bundle.

    Raises:
        DataError: a case is in the test set of no fold or of two, or two cases that are not independent of each other
            (of one patient or lesion, of the same file or look) are in the test sets of two.
    """
    if plan.folds is None or (out / GROUPS_FILE).is_file():
        return
    where: dict[str, list[int]] = {}
    items: dict[str, Mapping[str, Any]] = {}
    for fold in range(plan.folds):
        listed = _list_fold(plan, made, fold)
        items |= {item["case"]: item for part in listed.values() for item in part}
        for case in {item["case"] for item in listed["test"]}:
            where.setdefault(case, []).append(fold)
    wrong = sorted(case for case in items if len(where.get(case, [])) != 1)
    if wrong:
        reason = f"{len(wrong)} of {len(items)} cases are not in the test set of exactly one of {plan.folds} folds."
        raise DataError("datalists", wrong[0], reason, _REMEDY)
    groups = groups_of(list(items.values()))
    first: dict[str, str] = {}
    for case, group in groups.items():
        other = first.setdefault(group, case)
        if where[other] != where[case]:
            reason = f"it is in fold {where[case][0]}; {other}, which is not independent of it, in {where[other][0]}."
            raise DataError("datalists", case, reason, _REMEDY)
    write_json(groups, out / GROUPS_FILE)


def _list_fold(plan: Plan, made: Bundle, fold: int) -> Datalists:
    options = read_overrides(plan.fold_options(fold))
    listed: Datalists = made.get(made.parser(options), "datalists")
    if SPLITS[-1] in listed:
        return listed
    whole: Datalists  # a training lists no test set where it needs none
    whole = made.get(made.parser({**options, "datalists#splits": list(SPLITS)}), "datalists")
    return whole
