"""Write a minimal RTPLAN: a prescription that a dose and a structure set can refer to, without beams."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ctan_monai.data.dicom.write.common import LABEL, LONG, Written, decimal, item_of, new_object, refer_to, save_new
from ctan_monai.data.dicom.write.identity import Clock, UidSource, new_uid
from ctan_monai.data.dicom.write.reference import CtReference, Origin, shortened
from ctan_monai.data.dicom.write.rtdose import RT_PLAN
from ctan_monai.data.dicom.write.rtstruct import RT_STRUCTURE_SET


@dataclass(frozen=True)
class Prescription:
    """A prescription.

    Args:
        dose_gy: to the target, all fractions together.
        fractions: how many; None if that is not known.
    """

    dose_gy: float = 60.0
    fractions: int | None = 20

    def __str__(self) -> str:
        """Format the prescription as physicists do."""
        return f"{self.dose_gy:g} Gy" + (f" in {self.fractions} fractions" if self.fractions else "")


def write_rtplan(
    prescription: Prescription | None,
    structure_set_uid: str | None,
    reference: CtReference,
    path: str | Path,
    origin: Origin,
    *,
    clock: Clock = datetime.now,
    uid_source: UidSource = new_uid,
) -> Written:
    """Write an RTPLAN without beams; no file is replaced.

    It exists so that an RTDOSE has the plan that the standard requires. It cannot be delivered: it has no beam, is
    not approved, and says what made it.

    Args:
        prescription: dose and fractions; None states none, as for a network that was trained with several.
        structure_set_uid: SOPInstanceUID of the RTSTRUCT; None where there is none.
        reference: the CT.
        path: the file.
        origin: what made it.
        clock: tells the time.
        uid_source: gives UIDs.

    Returns:
        Path, and the UID for ``write_rtdose``.

    Raises:
        DataError: the file exists or cannot be written.
    """
    made = new_object(RT_PLAN, "RTPLAN", reference, origin, clock, uid_source)
    made.RTPlanLabel = shortened(origin.label, LABEL)
    made.RTPlanName = shortened(origin.statement, LONG)
    stated = f"{prescription}. No beams: a prescription" if prescription else "No beams: a plan"
    made.RTPlanDescription = f"{origin.text} {stated} to refer to."
    made.RTPlanDate, made.RTPlanTime = made.InstanceCreationDate, made.InstanceCreationTime
    made.PlanIntent = "RESEARCH"
    made.RTPlanGeometry = "PATIENT" if structure_set_uid else "TREATMENT_DEVICE"
    made.ApprovalStatus = "UNAPPROVED"

    if prescription:
        target = item_of(DoseReferenceNumber=1, DoseReferenceUID=uid_source(), DoseReferenceDescription="PTV")
        target.DoseReferenceStructureType, target.DoseReferenceType = "SITE", "TARGET"
        target.TargetPrescriptionDose = decimal(prescription.dose_gy)
        made.DoseReferenceSequence = [target]

    fractions = prescription.fractions if prescription else None
    group = item_of(FractionGroupNumber=1, NumberOfFractionsPlanned=fractions)
    group.NumberOfBeams = group.NumberOfBrachyApplicationSetups = 0
    made.FractionGroupSequence = [group]

    if structure_set_uid:
        made.ReferencedStructureSetSequence = [refer_to(RT_STRUCTURE_SET, structure_set_uid)]
    return save_new(made, path)
