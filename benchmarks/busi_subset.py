"""Join two public copies of BUSI for a comparison: one with masks of few images, one of all 780 images without masks.

Writes the folder in BUSI's layout, with the masks there are; ``masked.json`` and ``all.json``, for the bundle's
``datalist``: the same images for validation and test, and to train on those with a mask alone or all; and
``groups.json``, the images that show the same.

The copy of all images was stretched to 256 x 256 pixels, so masks are too. Where the copy with masks shows another
part of an image, its own image is taken with its mask.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ctan_monai.data.formats.images import mean_rgb, thumbnail_of
from ctan_monai.data.lists.image_files import image_name
from ctan_monai.data.lists.leakage import ImageFingerprint, group_related
from ctan_monai.data.lists.splits import SPLITS, grouped_split
from ctan_monai.files.json_files import write_json

CLASSES = ("benign", "malignant", "normal")
SIDE = 256
SAME = 0.98  # correlation of thumbnails: the same part of the image
FRACTIONS = {True: (0.6, 0.1, 0.3), False: (0.7, 0.05, 0.25)}  # of images with a mask, and of the others


def fingerprint(path: Path) -> ImageFingerprint:
    """Read the fingerprint of an image."""
    image = Image.open(path).convert("RGB")
    return ImageFingerprint(image_name(path), None, None, "", thumbnail_of(image), mean_rgb(image))


def join(path: Path, masked: Path, out: Path) -> tuple[bool, bool]:
    """Write one image with its mask; return whether it has one, and whether it is another part of the image."""
    image, masks = Image.open(path).convert("RGB"), sorted(masked.parent.glob(f"{masked.stem}_mask*.png"))
    other = False
    if masks:
        own = Image.open(masked).convert("RGB").resize((SIDE, SIDE))
        pair = [thumbnail_of(each).astype(float).ravel() for each in (image, own)]
        other = bool(np.corrcoef(*pair)[0, 1] < SAME)
        image = own if other else image
    for mask in masks:
        Image.open(mask).convert("L").resize((SIDE, SIDE), Image.Resampling.NEAREST).save(out.parent / mask.name)
    image.save(out)
    return bool(masks), other


def divide(groups: Mapping[str, str], classes: Mapping[str, str], masked: set[str], seed: int) -> dict[str, set[str]]:
    """Divide groups with a mask and groups without one, each by class."""
    with_mask = {groups[case] for case in masked}
    found: dict[str, set[str]] = {split: set() for split in SPLITS}
    for part, fractions in FRACTIONS.items():
        chosen = {case: group for case, group in groups.items() if (group in with_mask) is part}
        split = grouped_split(chosen, {case: classes[case] for case in chosen}, fractions, seed)
        for name, cases in split.items():
            found[name].update(cases)
    return found


def main() -> None:
    """Join, divide, write, and say how many of what there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all_dir", type=Path, required=True, help="Dataset_BUSI_with_GT of all images")
    parser.add_argument("--masked_dir", type=Path, required=True, help="folder of the images that have masks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    files = [path for name in CLASSES for path in sorted((arguments.all_dir / name).glob("*.png"))]
    began = time.process_time()
    prints = [fingerprint(path) for path in files]
    read = time.process_time()
    groups = group_related(prints)
    print(f"{len(files)} images: fingerprints {read - began:.1f} s, groups {time.process_time() - read:.2f} s")
    by_group: dict[str, list[str]] = {}
    for case, group in groups.items():
        by_group.setdefault(group, []).append(case)
    alike = {group: cases for group, cases in by_group.items() if len(cases) > 1}
    classes = {image_name(path): path.parent.name for path in files}
    mixed = [cases for cases in alike.values() if len({classes[case] for case in cases}) > 1]
    count = sum(map(len, alike.values()))
    print(f"{count} images in {len(alike)} groups that show the same; {len(mixed)} of two classes")
    masked: set[str] = set()
    others = 0
    for path in files:
        folder = arguments.out / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        has, other = join(path, arguments.masked_dir / path.parent.name / path.name, folder / path.name)
        masked |= {image_name(path)} if has else set()
        others += other
    print(f"{len(masked)} with a mask, of which {others} show another part than the image of that name")
    rows = [f"{path.name},{path.parent.name},{groups[image_name(path)]}\n" for path in files]
    (arguments.out / "labels.csv").write_text("image,class,patient_id\n" + "".join(rows))
    tumors = {case for case, name in classes.items() if name != "normal"}
    splits = divide({case: groups[case] for case in sorted(tumors)}, classes, masked & tumors, arguments.seed)
    for name, train in (("masked", splits["train"] & masked), ("all", splits["train"])):
        lists = {"train": sorted(train), **{split: sorted(splits[split]) for split in SPLITS[1:]}}
        write_json(lists, arguments.out / f"{name}.json")
        counts = {split: (len(cases), len(masked & set(cases))) for split, cases in lists.items()}
        print(f"{name}.json, images and those with a mask: {json.dumps(counts)}")
    write_json({group: cases for group, cases in sorted(alike.items())}, arguments.out / "groups.json")


if __name__ == "__main__":
    main()
