"""What made an object, and how the object says so."""

from __future__ import annotations

from dataclasses import dataclass

from ctan_monai import __version__

SOFTWARE = "ctan_monai"
PREDICTED = "PREDICTED"  # label of what a network made
OPERATOR = f"{SOFTWARE}^software"  # as a person's name is written


@dataclass(frozen=True)
class Origin:
    """What made an object.

    Args:
        label: one word for fields of 16 characters, such as PREDICTED.
        statement: one sentence for fields of 64 characters.
        model: what exactly made it, for ManufacturerModelName.
        details: anything else, for the fields that take long text: the network, what it was trained on, the
            prescription that it learned.
        generation: ROIGenerationAlgorithm of contours.
        synthetic: no patient was imaged; the objects say so in SyntheticData.
    """

    label: str
    statement: str
    model: str
    details: str = ""
    generation: str = "AUTOMATIC"
    synthetic: bool = False

    @property
    def text(self) -> str:
        """The statement and the details."""
        return f"{self.statement}. {self.details}".strip() if self.details else f"{self.statement}."

    @property
    def version(self) -> str:
        """Version of this software."""
        return __version__


def predicted_by(model: str, details: str = "") -> Origin:
    """Return the origin of what a network predicted.

    Args:
        model: the network, for example 'prostate ctan resnet50'.
        details: what a reader must know, for example 'Trained on plans of 60 Gy in 20 fractions'.
    """
    statement = f"Predicted by {SOFTWARE} {__version__}, not for clinical use"
    return Origin(PREDICTED, statement, model or SOFTWARE, details)


def shortened(text: str, characters: int) -> str:
    """Return a text that fits into a field of DICOM, without the backslash that would split it."""
    clean = " ".join(text.replace("\\", "/").split())
    return clean if len(clean) <= characters else clean[: characters - 3].rstrip() + "..."
