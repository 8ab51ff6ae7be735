"""The numbers that the paper prints, to stand beside ours.

Soares, Shah, Biswas, "Temporally Precise Action Spotting in Soccer Videos Using Dense Detection
Anchors", ICIP 2022: Table 1, Table 2 and the names of Figure 2's lines. SoccerNet-v2, test split
unless a row says otherwise; the paper's own rows are means of five trainings. Percent.
"""

import re
from fractions import Fraction
from typing import NamedTuple

WITHOUT_DISPLACEMENT = "w/o D"
"""How the paper marks results whose post-processing skips the displacement step."""


EPOCHS, CHUNKS_PER_EPOCH, SEEDS = 1000, 8192, 5
"""Of each training, and how many trainings a figure is the mean of."""


def scale_notes(
    epochs: int,
    chunks_per_epoch: int,
    own_epochs: int = EPOCHS,
    own_chunks_per_epoch: int = CHUNKS_PER_EPOCH,
) -> list[str]:
    """What makes trainings shorter or longer than planned, in words.

    Args:
      epochs: As trained.
      chunks_per_epoch: As trained.
      own_epochs: What the row's own config says; the paper's by default.
      own_chunks_per_epoch: The same of chunks.
    """
    sizes = (
        (epochs, own_epochs, "epochs"),
        (chunks_per_epoch, own_chunks_per_epoch, "chunks an epoch"),
    )
    return [f"{ours:,} of {full:,} {unit}" for ours, full, unit in sizes if ours != full]


def seeds_note(fewest: int, most: int, planned: int = SEEDS) -> str:
    """What makes rows of so many trainings less than planned, in words; "" if nothing does."""
    if fewest >= planned:
        return ""
    count = str(fewest) if fewest == most else f"{fewest} to {most}"
    return f"{count} of {planned} seeds"


_SIZE = re.compile(r"(?:(?P<whose>.+) at )?(?P<share>\d+(?:/[1-9]\d*)?) (?P<what>width|depth)")


def multiply_sizes(note: str, width: float = 1.0, depth: float = 1.0) -> list[str]:
    """The parts of a row's note once its network is scaled again: each product said once.

    "1/4 width" and a width of 0.25 give "1/16 width"; "DTEB at 1/3 depth" and a depth of 0.5 give
    "DTEB at 1/6 depth". What the note does not say yet is added.

    Args:
      note: The row's own note, its parts separated by ", ".
      width: Fraction of the row's own width.
      depth: Fraction of the row's own depth, of its encoder layers.
    """
    factors = {"width": _to_fraction(width), "depth": _to_fraction(depth)}
    parts = []
    for part in filter(None, note.split(", ")):
        match = _SIZE.fullmatch(part)
        if match:
            share = Fraction(match["share"]) * factors.pop(match["what"], Fraction(1))
            whose = f"{match['whose']} at " if match["whose"] else ""
            part = f"{whose}{share} {match['what']}" if share != 1 else ""
        parts.append(part)
    if factors.get("width", 1) != 1:
        parts.append(f"{factors['width']} width")
    if factors.get("depth", 1) != 1:
        parts.append(f"transformers at {factors['depth']} depth")
    return [part for part in parts if part]


def _to_fraction(value: float) -> Fraction:
    return Fraction(value).limit_denominator(64)


class PaperSpeed(NamedTuple):
    """A row of Table 1; speeds on one V100, an epoch being 8,192 chunks of training."""

    method: str
    features: str
    loose: float
    chunks_per_second: int  # inference
    epoch_seconds: float
    parameters: str  # as printed

    @property
    def name(self) -> str:
        """What a run's config names as its `paper_row`."""
        return f"{self.method} {self.features}"


class PaperResult(NamedTuple):
    """A row of Table 2."""

    method: str
    features: str
    loose: float
    tight: float
    note: str = ""

    @property
    def name(self) -> str:
        """What a run's config names as its `paper_row`."""
        return f"{self.method} {self.features}"


TABLE_1 = (
    PaperSpeed("DU", "ResNet+PCA", 63.8, 1447, 5.4, "17.5M"),
    PaperSpeed("DU+SAM", "ResNet+PCA", 72.0, 1447, 8.1, "17.5M"),
    PaperSpeed("DU+SAM+mixup", "ResNet+PCA", 72.2, 1447, 8.3, "17.5M"),
    PaperSpeed("DTES+SAM+mixup", "ResNet+PCA", 68.2, 1329, 15.0, "1.0M"),
    PaperSpeed("DTEB+SAM+mixup", "ResNet+PCA", 72.4, 342, 112.0, "9.7M"),
    PaperSpeed("DU", "Combination", 75.7, 511, 13.7, "8.9M"),
    PaperSpeed("DU+SAM", "Combination", 76.1, 511, 18.4, "8.9M"),
    PaperSpeed("DU+SAM+mixup", "Combination", 77.3, 511, 22.7, "8.9M"),
)

TABLE_2 = (
    PaperResult("NetVLAD++", "ResNet", 53.4, 11.5),
    PaperResult("RMS-Net", "ResNet-tuned", 63.5, 28.8, "trains on the videos' frames"),
    PaperResult("Vis. Analysis of Humans", "CSN-tuned", 64.7, 46.2, "challenge split; unpublished"),
    PaperResult("CALF", "ResNet+PCA", 40.7, 12.2),
    PaperResult("NetVLAD++", "ResNet+PCA", 50.7, 11.3),
    PaperResult("DU", "ResNet+PCA", 63.8, 41.7),
    PaperResult("DU+SAM+mixup w/o D", "ResNet+PCA", 72.1, 39.3),
    PaperResult("DU+SAM+mixup", "ResNet+PCA", 72.2, 50.7),
    PaperResult("Zhou et al.", "Combination", 73.8, 47.1, "no public code"),
    PaperResult("DU", "Combination", 75.7, 58.5),
    PaperResult("DU+SAM+mixup w/o D", "Combination", 77.3, 46.8),
    PaperResult("DU+SAM+mixup", "Combination", 77.3, 60.7),
)

FIGURE_2_FEATURES = "ResNet+PCA"
FIGURE_2_LINES = ("CALF", "NetVLAD++", "DU", "DU+SAM+mixup", "DU+SAM+mixup w/o D")
"""The methods of Figure 2. The paper prints the curves only as a drawing, so no values here."""


def split_name(paper_row: str) -> tuple[str, str]:
    """ "DU+SAM+mixup w/o D ResNet+PCA" -> ("DU+SAM+mixup w/o D", "ResNet+PCA")."""
    method, _, features = paper_row.rpartition(" ")
    return method, features


def without_displacement(paper_row: str) -> str:
    """The name of the same row without displacement in post-processing."""
    method, features = split_name(paper_row)
    return f"{method} {WITHOUT_DISPLACEMENT} {features}"
