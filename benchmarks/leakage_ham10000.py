"""Promise: images that were saved again are found, and different lesions are not accused of being one.

    OMP_NUM_THREADS=1 python benchmarks/leakage_ham10000.py --dataset_dir path/to/HAM10000

Every image is compared with every other, in eight orientations. Printed are: pairs of different lesions that are
taken for one image (false alarms, unless a lesion has two numbers); for each way to save an image again, how many
of ``--copies`` are found among all images, and the smallest correlation; and the leaks between the splits that this
package makes itself. The images' license keeps them out of this repository.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from ctan_monai.data.datasets.ham10000.reader import Ham10000, find_ham10000
from ctan_monai.data.formats.images import mean_rgb, read_image_file, thumbnail_of
from ctan_monai.data.lists.leakage import ImageFingerprint, find_leaks, group_related, same_images
from ctan_monai.data.lists.splits import draw, grouped_split

Change = Callable[[Image.Image], Image.Image]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Save an image as JPEG and read it again."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


COPIES: dict[str, Change] = {
    "JPEG, quality 50": lambda image: jpeg(image, 50),
    "JPEG, quality 20": lambda image: jpeg(image, 20),
    "twice as large": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
    "half as large, JPEG, quality 75": lambda image: jpeg(image.resize((image.width // 2, image.height // 2)), 75),
    "64 x 64": lambda image: image.resize((64, 64)),
    "palette of 64 colors": lambda image: image.convert("P", palette=Image.Palette.ADAPTIVE, colors=64),
    "gray": lambda image: image.convert("L"),
    "contrast 0.7": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "brightness 1.2": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned by a quarter": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "1 % cut off each side": lambda image: image.crop(
        (image.width // 100, image.height // 100, image.width - image.width // 100, image.height - image.height // 100)
    ),
    "turned by 5 degrees": lambda image: image.rotate(5, Image.Resampling.BILINEAR),
}


def traces_of(found: Ham10000) -> list[ImageFingerprint]:
    """Read every image's fingerprint, without the cache."""
    fingerprints = []
    for name, path in found.images.items():
        image, row = read_image_file(path, name), found.rows.get(name)
        fingerprints.append(
            ImageFingerprint(name, row and row.lesion, None, image.sha256, image.thumbnail, image.mean_rgb)
        )
    return fingerprints


def false_alarms(fingerprints: list[ImageFingerprint]) -> list[tuple[str, str]]:
    """Find pairs of different lesions that look like one image."""
    pairs = [(fingerprints[i], fingerprints[j]) for i, j in same_images(fingerprints, fingerprints) if i < j]
    return [(a.case, b.case) for a, b in pairs if a.lesion is None or a.lesion != b.lesion]


def correlation(first: ImageFingerprint, second: ImageFingerprint, best_of: int = 8) -> float:
    """Return the largest correlation of two thumbnails over the orientations."""
    one = first.thumbnail.astype(float).ravel()
    turned = [np.rot90(second.thumbnail, k) for k in range(4)]
    turned += [np.rot90(second.thumbnail[:, ::-1], k) for k in range(4)]
    return max(float(np.corrcoef(one, other.astype(float).ravel())[0, 1]) for other in turned[:best_of])


def plant(found: Ham10000, chosen: list[ImageFingerprint], change: Change) -> list[ImageFingerprint]:
    """Save some images again, under other names."""
    copies = []
    for fingerprint in chosen:
        with Image.open(found.images[fingerprint.case]) as image:
            copied = change(image.convert("RGB")).convert("RGB")
        color = mean_rgb(copied)
        copies.append(
            ImageFingerprint(
                f"copy_{fingerprint.case}", None, None, f"other {fingerprint.sha256}", thumbnail_of(copied), color
            )
        )
    return copies


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset_dir", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=300)
    arguments = parser.parse_args()
    found = find_ham10000(arguments.dataset_dir)
    fingerprints = traces_of(found)
    started = time.perf_counter()
    alarms = false_alarms(fingerprints)
    seconds = time.perf_counter() - started
    lesions = len({fingerprint.lesion for fingerprint in fingerprints})
    pairs = len(fingerprints) * (len(fingerprints) - 1) // 2
    print(f"{len(fingerprints)} images of {lesions} lesions, {pairs} pairs compared in {seconds:.1f} s")
    print(f"pairs of different lesions that are taken for one image: {len(alarms)} {alarms[:5]}")
    chosen = sorted(fingerprints, key=lambda fingerprint: draw(0, fingerprint.case))[: arguments.copies]
    for name, change in COPIES.items():
        copies = plant(found, chosen, change)
        pairs_found = {(leak.first, leak.second) for leak in find_leaks({"train": fingerprints, "test": copies})}
        hits = sum((fingerprint.case, f"copy_{fingerprint.case}") in pairs_found for fingerprint in chosen)
        least = min(correlation(fingerprint, copy) for fingerprint, copy in zip(chosen, copies, strict=True))
        print(f"{name:32} found {hits} of {len(chosen)}, smallest correlation {least:.4f}")
    by_case = {fingerprint.case: fingerprint for fingerprint in fingerprints}
    diagnoses = {name: row.diagnosis for name, row in found.rows.items()}
    split = grouped_split(group_related(fingerprints), diagnoses)
    leaks = find_leaks({part: [by_case[name] for name in names] for part, names in split.items()})
    sizes = {part: len(names) for part, names in split.items()}
    print(f"split by group_related {sizes}: {len(leaks)} leaks")
    by_image = grouped_split({name: name for name in by_case}, diagnoses)
    leaks = find_leaks({part: [by_case[name] for name in names] for part, names in by_image.items()})
    print(f"split by image, as often published: {len(leaks)} leaks")


if __name__ == "__main__":
    main()
