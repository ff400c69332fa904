"""Choose a small part of HAM10000 to compare methods on a CPU: few images to learn from, many to test on.

Lesions are divided, not images, with diagnoses as frequent as in the whole data set. The JSON file is for the
bundle's ``datalist``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from ctan_monai.data.datasets.ham10000.table import CLASSES, read_table
from ctan_monai.data.lists.splits import grouped_split
from ctan_monai.files.json_files import write_json


def choose(groups: dict[str, str], classes: dict[str, int | None], count: int, seed: int) -> tuple[list[str], set[str]]:
    """Return about ``count`` images, all or none of each lesion, and those that are left."""
    share = count / len(groups)
    chosen = grouped_split(groups, classes, (share, 0.0, 1 - share), seed)["train"]
    return chosen, set(groups) - set(chosen)


def main() -> None:
    """Choose, write, and say how often each diagnosis occurs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset_dir", type=Path, required=True, help="folder with HAM10000_metadata.csv")
    parser.add_argument("--train", type=int, default=480, help="images to train on, about")
    parser.add_argument("--validation", type=int, default=120)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = read_table(arguments.dataset_dir / "HAM10000_metadata.csv")
    groups = {image: row.lesion or image for image, row in rows.items()}
    classes = {image: row.diagnosis for image, row in rows.items()}
    splits: dict[str, list[str]] = {}
    for split in ("test", "validation", "train"):
        splits[split], left = choose(groups, classes, getattr(arguments, split), arguments.seed)
        groups = {image: lesion for image, lesion in groups.items() if image in left}
        classes = {image: classes[image] for image in groups}
        counts = Counter(CLASSES[rows[image].diagnosis] for image in splits[split])
        lesions = len({rows[image].lesion for image in splits[split]})
        print(f"{split}: {len(splits[split])} images of {lesions} lesions, diagnoses {dict(sorted(counts.items()))}")
    write_json({split: splits[split] for split in ("train", "validation", "test")}, arguments.out)


if __name__ == "__main__":
    main()
