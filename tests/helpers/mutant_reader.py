"""Read damaged copies of a file, within limits: ``python mutant_reader.py FORMAT FOLDER FIRST COUNT``.

FOLDER is filled with sound data first, unless it is there. Then, for each number, one file of it is damaged, everything
is read as a user's data are, and the file is put back. A line of JSON before and after each says how it went.
"""

import json
import logging
import random
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from mutants import mutate

from ctan_monai.data.cases.case import Case
from ctan_monai.errors import DataError

MEMORY_BYTES = 1 << 30  # beyond what is in use before
CPU_S = 600


def ct_hu():
    index = np.indices((9, 8, 7))
    return (3 * index[0] ** 2 - 40 * index[1] + 11 * index[2] - 200).astype(np.int16)


AFFINE_RAS = np.array([[-1.5, 0, 0, 10], [0, -2.0, 0, 20], [0, 0, 3.0, -30], [0, 0, 0, 1]])


class Nifti:
    """A CT as NIfTI."""

    suffix, name, before_a_case = ".nii", "case_1", ()

    def make(self, folder):
        from ctan_monai.data.formats.nifti import write_nifti

        write_nifti(ct_hu(), AFFINE_RAS, folder / f"{self.name}{self.suffix}")

    def targets(self, folder):
        return [folder / f"{self.name}{self.suffix}"]

    def read(self, folder):
        from ctan_monai.data.formats.nifti import read_nifti_case

        return read_nifti_case(folder / f"{self.name}{self.suffix}")


class NiftiGz(Nifti):
    suffix = ".nii.gz"


class OpenKbp:
    """A patient of OpenKBP, in CSV files."""

    name, before_a_case = "pt_1", ()

    def make(self, folder):
        from ctan_monai.data.datasets.openkbp.sparse import write_sparse

        inside = np.zeros((128, 128, 128), bool)
        inside[60:64, 61:66, 50:53] = True
        values = {
            "ct": np.where(inside, 1000.0 + np.arange(128)[:, None, None], 0),
            "dose": np.where(inside, 0.37 * np.arange(128)[:, None, None], 0),
        }
        patient = folder / self.name
        patient.mkdir(parents=True)
        for name, volume in values.items():
            write_sparse(volume, patient / f"{name}.csv")
        lines = "".join(f"{at},\n" for at in np.flatnonzero(inside))
        for name in ("possible_dose_mask", "Brainstem"):
            (patient / f"{name}.csv").write_text(f",data\n{lines}")
        (patient / "voxel_dimensions.csv").write_text("3.906\n3.906\n2.5\n")

    def targets(self, folder):
        return sorted((folder / self.name).glob("*.csv"))

    def read(self, folder):
        from ctan_monai.data.datasets.openkbp.reader import read_case

        return read_case(folder / self.name)


class Picture:
    """A color image."""

    suffix, name, before_a_case = ".png", "ISIC_1", ()

    def make(self, folder):
        from PIL import Image

        folder.mkdir(parents=True, exist_ok=True)
        index = np.indices((40, 52)).astype(float)
        layers = [128 + 100 * np.sin(index[0] / (3 + c)) * np.cos(index[1] / (5 - c)) for c in range(3)]
        Image.fromarray(np.stack(layers, -1).astype(np.uint8)).save(folder / f"{self.name}{self.suffix}", quality=90)

    def targets(self, folder):
        return [folder / f"{self.name}{self.suffix}"]

    def read(self, folder):
        from ctan_monai.data.formats.images import image_affine_ras, read_image_file

        rgb = read_image_file(folder / f"{self.name}{self.suffix}", self.name).rgb
        return Case(
            self.name,
            {"rgb": rgb[..., 0], "green": rgb[..., 1], "blue": rgb[..., 2]},
            {},
            image_affine_ras(rgb.shape[:2], rgb.shape[:2]),
        )


class Jpeg(Picture):
    suffix = ".jpg"


class PictureMask(Picture):
    """The mask of an image, whose size is known."""

    def make(self, folder):
        from PIL import Image

        folder.mkdir(parents=True, exist_ok=True)
        rows, columns = np.indices((40, 52)).astype(float)
        wave = np.sin(rows / 3) * np.cos(columns / 5) > 0.2
        Image.fromarray((wave * 255).astype(np.uint8)).save(folder / f"{self.name}{self.suffix}")

    def read(self, folder):
        from ctan_monai.data.formats.image_masks import read_mask_file
        from ctan_monai.data.formats.images import image_affine_ras

        mask = read_mask_file(folder / f"{self.name}{self.suffix}", self.name, (40, 52))
        return Case(self.name, {}, {"lesion": mask}, image_affine_ras((40, 52), (40, 52)))


class MetaImage(Nifti):
    """A volume of a data set of one's own, as MetaImage."""

    suffix = ".mha"
    compressed = False

    def make(self, folder):
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(ct_hu().T)
        image.SetSpacing((1.5, 2.0, 3.0))
        sitk.WriteImage(image, str(folder / f"{self.name}{self.suffix}"), self.compressed)

    def read(self, folder):
        from ctan_monai.data.datasets.tabular.files import read_volumes

        volumes, affine_ras, _ = read_volumes(folder / f"{self.name}{self.suffix}", self.name, "RAS")
        return Case(self.name, {"image": volumes[0]}, {}, affine_ras)


class MetaImageZlib(MetaImage):
    compressed = True


class Chest(MetaImage):
    """A CT of the chest, as STOIC has them."""

    def make(self, folder):
        import SimpleITK as sitk

        index = np.indices((34, 33, 6))
        hu = (-700 + 20 * index[0] + 5 * index[1] - 30 * index[2]).astype(np.int16)
        image = sitk.GetImageFromArray(hu.T)
        image.SetSpacing((4.0, 4.5, 20.0))
        sitk.WriteImage(image, str(folder / f"{self.name}{self.suffix}"))

    def read(self, folder):
        from ctan_monai.data.datasets.stoic.chest_scan import read_scan

        scan = read_scan(folder / f"{self.name}{self.suffix}")
        return Case(self.name, {"ct": np.ascontiguousarray(scan.hu)}, {}, scan.affine_ras)


class Prepared:
    """What ``prepare`` wrote, checked by ``verify`` with its manifest of checksums: any file of it is damaged."""

    name, before_a_case = "", ()

    def __init__(self, kind):
        self.kind = kind

    def make(self, folder):
        import tempfile

        from dicom_phantoms import Patient

        from ctan_monai.data.datasets.dicom_rt.prepare import prepare_dicom

        with tempfile.TemporaryDirectory() as export:
            Patient(rows=24, columns=30, slices=8, pixel_mm=(4.0, 5.0), spacing_mm=6.0).write(Path(export))
            prepare_dicom(export, folder, kind=self.kind, workers=1, progress=False)

    def targets(self, folder):
        hidden = (".pseudonym.key", ".lock")
        return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in hidden)

    def read(self, folder):
        """Return what verify relies on beside checksums; refuse what it finds."""
        from ctan_monai.data.datasets.dicom_rt.manifest import verify_prepared

        cases, problems = verify_prepared(folder, progress=False)
        if problems:
            raise DataError(folder, self.name, "; ".join(problems), "Prepare it again.")
        return cases, json.loads((folder / "manifest.json").read_text(encoding="utf-8")), self._facts(folder)

    def _facts(self, folder):
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/case.json"))]

    @staticmethod
    def same(one, other):
        return one == other


class Dicom:
    """A patient's CT, contours, plan and dose; one kind of object is damaged."""

    name, before_a_case = "case_1", (None,)  # what belongs together is found out before there is a case

    def __init__(self, kind):
        self.kind = kind

    def make(self, folder):
        from dicom_phantoms import Patient

        patient = Patient(rows=24, columns=30, slices=8, pixel_mm=(4.0, 5.0), spacing_mm=6.0)
        patient.write(folder, rtdose=patient.rtdose(size=(5, 14, 18), spacing_mm=(12.0, 9.0, 10.0)))

    def targets(self, folder):
        from ctan_monai.data.dicom.read.scan import scan

        return sorted(header.path for header in scan(folder, progress=False).of(self.kind))

    def read(self, folder):
        from ctan_monai.data.dicom.read.link import link
        from ctan_monai.data.dicom.read.options import DicomOptions
        from ctan_monai.data.dicom.read.patient import read_patient
        from ctan_monai.data.dicom.read.scan import scan
        from ctan_monai.data.dicom.read.select import select

        linked, unlinked = link(scan(folder, progress=False).objects)
        if len(linked) != 1:
            raise DataError(folder, self.name, f"{len(linked)} series, {len(unlinked)} unlinked", "Seen in the table.")
        return read_patient(select(linked[0], DicomOptions()), self.name)


FORMATS = {
    "NIfTI": Nifti(),
    "nii.gz": NiftiGz(),
    "OpenKBP CSV": OpenKbp(),
    "PNG": Picture(),
    "PNG mask": PictureMask(),
    "JPEG": Jpeg(),
    "mha": MetaImage(),
    "mha, compressed": MetaImageZlib(),
    "mha of STOIC": Chest(),
    "prepared cases": Prepared("cache"),
    "prepared NIfTI": Prepared("nifti"),
    "DICOM CT": Dicom("CT"),
    "DICOM RTSTRUCT": Dicom("RTSTRUCT"),
    "DICOM RTDOSE": Dicom("RTDOSE"),
}


def same_content(one, other):
    """Tell whether two cases hold the same voxels in the same place."""
    arrays = [{**case.volumes, **case.masks} for case in (one, other)]
    return (
        list(arrays[0]) == list(arrays[1])
        and all(arrays[0][name].dtype == arrays[1][name].dtype for name in arrays[0])
        and all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0])
        and np.array_equal(one.affine_ras, other.affine_ras)
        and one.values == other.values
    )


def judge(reader, folder, sound):
    """Read; return an outcome and a detail."""
    try:
        found = reader.read(folder)
    except DataError as error:
        named = str(folder) in str(error.path)
        case = error.case in (reader.name, *reader.before_a_case)
        return ("refused" if named and (case or not reader.name) else "unnamed"), str(error)
    except BaseException as error:
        return "traceback", f"{type(error).__name__}: {error}"
    same = getattr(reader, "same", same_content)
    return ("same" if same(found, sound) else "changed"), ""


def main(kind, place, first, count):
    import resource  # here, as other systems have none and import this file too

    logging.disable()
    warnings.simplefilter("ignore")
    reader, folder = FORMATS[kind], Path(place)
    if not folder.exists():
        folder.mkdir(parents=True)
        reader.make(folder)
    sound = reader.read(folder)  # also imports everything
    targets = reader.targets(folder)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    for number in range(first, first + count):
        target = targets[random.Random(number).randrange(len(targets))]  # noqa: S311
        content = target.read_bytes()
        damage, damaged = mutate(content, number)
        say(number=number, damage=damage, file=target.name)
        target.write_bytes(damaged)
        start = time.monotonic()
        outcome, detail = judge(reader, folder, sound)
        say(number=number, damage=damage, outcome=outcome, detail=detail[:600], seconds=time.monotonic() - start)
        target.write_bytes(content)


def say(**fields):
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
