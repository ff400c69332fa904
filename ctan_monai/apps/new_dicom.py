"""Write a bundle for structures and dose of one's own DICOM-RT; the bundle prostate is one of them."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from ctan_monai.apps.new_bundle import check_place, fill, metadata_of, read_template, summary_of, write_texts
from ctan_monai.apps.new_dicom_texts import WIDTH, goals_of, marked, names_file, wrapped
from ctan_monai.apps.new_parts import Plan, flow, title_of
from ctan_monai.apps.new_tasks import NewImage, NewTask, mirror_pairs, parse_task
from ctan_monai.data.cases.prescription import PRESCRIPTION
from ctan_monai.data.datasets.tabular.sides import side_of
from ctan_monai.data.dicom.read.names import StructureNames, unusable
from ctan_monai.data.dicom.read.options import NAMES, DicomOptions
from ctan_monai.data.lists.table import TABLE_SUFFIXES
from ctan_monai.data.phantom.patient import SITES
from ctan_monai.errors import ConfigError, check_choice
from ctan_monai.tasks import Regression, Segmentation

OUTLINE, CACHE = "External", "cache"
_SLICES = 32  # of a patch
_CONFIGS = ("train", "evaluate", "inference", "multi_gpu_train")
_SAME = {"logging.conf": "configs/logging.conf", "LICENSE": "LICENSE"}
_HU = (-1024, 3071)
_WINDOWS = {"ct": (-160, 240), "mr": (0, 1)}  # an MR's percentiles are 0 and 1 when it was read
_MR_REPAIR = "take an MR that ends before its contours"  # slices of an MR are not mended
_MR_VALUES = "'signal, scaled: its 0.5th and\n  99.5th percentile inside the body are 0 and 1'"
_MR_NOTE = (
    "* **MR series** have no unit: the 0.5th and 99.5th percentile inside the body become 0 and 1 when they are read. "
    "Where an examination has several, `--dicom \"{'modality': 'MR', 'series': '...'}\"` names the one meant, by "
    "SeriesDescription or SeriesNumber, in training and in inference."
)


@dataclass(frozen=True)
class DicomPlan:
    """Specification of a bundle for DICOM-RT.

    Args:
        name: of the bundle.
        structures: what is read and reported, TG-263.
        segmented: those of them that the network draws.
        dose: the network predicts the dose, too.
        prescription_gy: about what is prescribed, from which scale and metrics of the dose follow.
        prescribed: where prescriptions are read, instead of RTPLANs: 'names' or a table's path; '' for RTPLANs.
        scale_gy: of the dose's task, about its highest value; None: from the prescription.
        names: own names of structures, see ``names.read_mapping``.
        options: of ``DicomOptions``, other than names and pixels.
        pixel_mm: pixel size.
        image_size: rows and columns to train on.
        window: HU that become 0 and 1; of an MR, the signal that its reader scaled.
        image: 'ct' or 'mr', the planning images.

    Raises:
        ConfigError: a name cannot be used, or nothing is segmented.
    """

    name: str
    structures: tuple[str, ...]
    segmented: tuple[str, ...]
    dose: bool = True
    prescription_gy: float = 60.0
    prescribed: str = ""
    scale_gy: float | None = None
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    pixel_mm: float = 3.0
    image_size: tuple[int, int] = (128, 128)
    window: tuple[int, int] = (-160, 240)
    image: str = "ct"

    def __post_init__(self) -> None:
        """Check the names."""
        listed = dict.fromkeys(self.structures, ())
        if reason := unusable(listed):
            raise ConfigError("--structures", reason, "Write for example Heart,Lung_L,Lung_R,SpinalCord,PTV.")
        if not self.segmented:
            reason = f"{', '.join(self.structures) or 'nothing'} leaves no structure to draw on a {self.image.upper()}."
            raise ConfigError("--structures", reason, "Name organs or a CTV beside PTVs and the outline.")
        if len(self.window) != 2 or not _HU[0] <= self.window[0] < self.window[1] <= _HU[1]:
            reason = f"{','.join(map(str, self.window))} was found."
            remedy = f"Give two HU in rising order from {_HU[0]} to {_HU[1]}, as -160,240 for level 40 and width 400."
            raise ConfigError("--window", reason, remedy)
        if self.prescribed not in ("", NAMES) and not self.prescribed.lower().endswith(TABLE_SUFFIXES):
            reason = f"{self.prescribed!r} was found."
            raise ConfigError("--prescription-from", reason, "Give names, or a table, as prescriptions.csv.")

    @property
    def labels(self) -> Segmentation:
        """The task of the structures."""
        return Segmentation("oar", self.segmented, True, mirror_pairs(self.segmented))

    @property
    def scale(self) -> float:
        """Scale of the dose: a third above the prescription, in tens of Gy."""
        return self.scale_gy or 10.0 * math.ceil(self.prescription_gy / 8)

    @property
    def planned(self) -> list[str]:
        """Targets that a plan aims at."""
        return [name for name in self.structures if name.startswith("PTV")]

    @property
    def lone(self) -> list[str]:
        """Labels of one side without that of the other, which a mirror image would call wrong."""
        paired = {name for pair in self.labels.mirror_pairs for name in pair}
        return [name for name in self.segmented if side_of(name) and name not in paired]

    @property
    def mapping(self) -> dict[str, list[str]]:
        """Own names of structures, with those that the package's table does not have."""
        found = {name: list(names) for name, names in self.names.items()}
        known = StructureNames().match(self.structures).found
        return {name: [name] for name in self.structures if name not in known and name not in found} | found

    @property
    def tabular(self) -> Plan:
        """The same tasks and image, as a bundle for a table describes them."""
        dose = Regression("dose", "Gy", self.scale, region="mask", nonnegative=True)
        tasks = (NewTask(self.labels), *([NewTask(dose)] if self.dose else []))
        return Plan(self.name, tasks, NewImage(self.image, (self.image,)), 2)


def plan_of(
    name: str,
    task: Sequence[str],
    structures: Sequence[str],
    required: Sequence[str] = (),
    prescription_gy: float | None = None,
    options: Mapping[str, Any] | None = None,
    pixel_mm: float = 3.0,
    names: Mapping[str, Sequence[str]] | None = None,
    window: Sequence[int] = (),
    prescribed: str = "",
    image: str = "ct",
) -> DicomPlan:
    """Create the specification of a bundle from the command line's options.

    Args:
        name: of the bundle.
        task: ``segmentation:oar=...`` for what is drawn, by default all structures but PTVs, which are margins, and
            the outline; ``regression:dose=Gy@scale=...``. With nothing but a segmentation, no dose is predicted or
            needed.
        structures: what is read; those of the task are too.
        required: those that every patient must have.
        prescription_gy: see `DicomPlan`; 60 by default.
        options: of ``DicomOptions``; what is its default is left out.
        pixel_mm: pixel size.
        names: own names of structures, see ``names.read_mapping``.
        window: see `DicomPlan`, as the next; -160 to 240 HU by default, none for an MR.
        prescribed: where prescriptions are read.
        image: 'ct' or 'mr'.

    Raises:
        ConfigError: something cannot be used; the message says what is.
    """
    given = {entry.task.name: entry.task for entry in map(parse_task, task)}
    oar, dose = given.pop("oar", None), given.pop("dose", None)
    if given or not isinstance(oar, Segmentation | None) or not isinstance(dose, Regression | None):
        reason = f"the tasks of a bundle for DICOM are oar and dose, not {', '.join(given) or 'of these kinds'}."
        raise ConfigError("--task", reason, "Write segmentation:oar=Heart,Lung_L and regression:dose=Gy, or neither.")
    without_dose = bool(task) and dose is None
    segmented = oar.labels if oar else [each for each in structures if not each.startswith("PTV") and each != OUTLINE]
    read = tuple(dict.fromkeys([*structures, *segmented]))
    if strange := [each for each in required if each not in read]:
        raise ConfigError("--required", f"{', '.join(strange)} is not read.", f"Give some of {', '.join(read)}.")
    check_choice("--image", image, tuple(_WINDOWS))
    if image == "mr" and window:
        raise ConfigError("--window", "an MR has no HU; its percentiles are taken.", "Leave it out.")
    chosen = {
        "required": tuple(required),
        "modality": image.upper(),
        **({"need": ("structures",)} if without_dose else {}),
        **(options or {}),
    }
    chosen = {key: value for key, value in chosen.items() if value != getattr(DicomOptions(), key)}
    DicomOptions(**chosen)
    scale = dose.scale if dose and any("@scale" in text for text in task) else None
    return DicomPlan(
        name,
        read,
        tuple(segmented),
        dose=not without_dose,
        prescription_gy=prescription_gy or 60.0,
        prescribed=prescribed,
        scale_gy=scale,
        names=names or {},
        options=chosen,
        pixel_mm=pixel_mm,
        window=tuple(window) or _WINDOWS[image],  # type: ignore[arg-type]  # whose number is checked
        image=image,
    )


def write_dicom_bundle(plan: DicomPlan, out: str | Path) -> Path:
    """Write a bundle's folder.

    Args:
        plan: what it is for.
        out: folder in which it gets one of its name.

    Returns:
        The bundle's folder.

    Raises:
        ConfigError: the name cannot be used, or something is there already.
        DataError: it cannot be written.
    """
    folder = check_place(plan.name, out, CACHE)
    parts = parts_of(plan)
    texts = {f"configs/{name}.yaml": f"dicom/{name}.yaml" for name in _CONFIGS} | {"docs/README.md": "dicom/README.md"}
    texts = {place: fill(marked(read_template(name), plan.dose), parts) for place, name in texts.items()}
    goals = read_template("dicom/goals.yaml")
    if plan.dose:
        texts["configs/goals.yaml"] = goals_of(goals, plan.structures) or goals_of(goals, ("CTV", "PTV"))
    texts |= {place: read_template(name) for name, place in _SAME.items()}
    if plan.mapping:
        texts["configs/names.yaml"] = names_file(plan.mapping)
    texts["configs/metadata.json"] = json.dumps(_metadata(plan), indent=4) + "\n"
    write_texts(folder, texts)
    return folder


def parts_of(plan: DicomPlan) -> dict[str, str]:
    """Return the text of each ``{{name}}`` of the templates."""
    size = list(plan.image_size)
    window, names = flow(list(plan.window)), "$@bundle_root + '/configs/names.yaml'" if plan.mapping else "null"
    labels = f", mirror_pairs: {flow(plan.labels.mirror_pairs)}" if plan.labels.mirror_pairs else ""
    seen = [*dict.fromkeys([*plan.structures, OUTLINE])]
    region, others = phantom_of(plan.structures)
    phantom = "" if region == "pelvis" else f"region: {region}, "
    phantom += f"others: {flow(others)}, " if others else ""
    phantom += "" if plan.image == "ct" else f"modality: {plan.image.upper()}, "
    task = f"_target_: ctan_monai.tasks.Segmentation, name: oar, labels: {flow(plan.segmented)}"
    return {
        "name": plan.name,
        "title": title_of(plan.tabular),
        "configs": f"{plan.name}/configs",
        "pixel_mm": f"{float(plan.pixel_mm):<21} ",
        "image_size": f"'${flow(size)} if @spatial_dims == 2 else {flow([*size, _SLICES])}'  ",
        "image": plan.image,
        "kind": plan.image.upper(),
        "repair": _MR_REPAIR if plan.image == "mr" else "mend a CT with duplicate, flipped or a few missing slices",
        "unit": "HU" if plan.image == "ct" else "scaled values",
        "values": "HU" if plan.image == "ct" else _MR_VALUES,
        "shown": "" if plan.image == "ct" else f", image: {plan.image}, window: {window}",
        "mr_note": "" if plan.image == "ct" else textwrap.fill(_MR_NOTE, WIDTH, subsequent_indent="  "),
        "channels": flow([plan.image, *plan.segmented, PRESCRIPTION]),
        "names": f"{names:<24} ",
        "prescription": f"{flow(plan.prescribed) if plan.prescribed else 'null':<14} ",
        "method": "ctan" if plan.dose else "hps",
        "and_rtdose": ", RTDOSE" if plan.dose else "",
        "and_dose": " and dose" if plan.dose else "",
        "dicom": f"{flow(plan.options):<24} ",
        "windows": f"{f'{{{plan.image}: {window}}}':<22} ",
        "window": window,
        "labels": wrapped(f"- {{{task}, overlapping: true{labels}}}"),
        "scale": str(plan.scale),
        "phantom": wrapped(f"{{_target_: ctan_monai.data.PhantomGrid, {phantom}slices: 36, slice_mm: 5.0}}", "    "),
        "mirror": f"0.0}},  # of {', '.join(plan.lone)} there is one side only" if plan.lone else "'@augment'},",
        "planned": flow(plan.planned),
        "drawn": flow([name for name in plan.segmented if name.startswith(("CTV", "GTV"))]),
        "dose_metrics": f"[Dmean, D2%, D50%, D95%, D98%, V20Gy, V40Gy, V{round(0.95 * plan.prescription_gy, 1):g}Gy]",
        "structures": wrapped(f"  labels: {flow(seen)}}}"),
        "summary": textwrap.fill(summary_of(plan.tabular), WIDTH),
        "read": textwrap.fill(f"* **Read**: {', '.join(plan.structures)}.", WIDTH, subsequent_indent="  "),
        "oar": textwrap.fill(
            f"* **Drawn by the network**: {', '.join(plan.segmented)}.", WIDTH, subsequent_indent="  "
        ),
        "phantom_note": f"a {region}" + (f"; ellipsoids stand for {', '.join(others)}." if others else "."),
        "names_note": "those of your data stand in `configs/names.yaml`."
        if plan.mapping
        else "`--names FILE` adds yours.",
    }


def phantom_of(structures: Sequence[str]) -> tuple[str, list[str]]:
    """Return the region of the synthetic patients that has most of the structures, and those that it lacks."""
    lacking = {region: [each for each in structures if each not in site.structures] for region, site in SITES.items()}
    region = min(lacking, key=lambda each: len(lacking[each]))
    return region, lacking[region]


def _metadata(plan: DicomPlan) -> dict[str, Any]:
    found = metadata_of(plan.tabular, plan.image_size)
    packages = {name: metadata.version(name) for name in ("pydicom", "SimpleITK")}
    kinds = (f"{plan.image.upper()} series", "RTSTRUCT", *(("RTDOSE", "RTPLAN") if plan.dose else ()))
    return found | {
        "required_packages_version": found["required_packages_version"] | packages,
        "data_source": "the user's own DICOM export; without one, synthetic patients computed from random numbers",
        "data_type": f"DICOM: {', '.join(kinds)}",
    }
