"""The numbers that the paper prints, to stand beside ours.

Soares, Shah, Biswas, "Temporally Precise Action Spotting in Soccer Videos Using Dense Detection
Anchors", ICIP 2022: Table 1, Table 2 and the names of Figure 2's lines. SoccerNet-v2, test split
unless a row says otherwise; the paper's own rows are means of five trainings. Percent.
"""

from typing import NamedTuple

WITHOUT_DISPLACEMENT = "w/o D"
"""How the paper marks results whose post-processing skips the displacement step."""


EPOCHS, CHUNKS_PER_EPOCH, SEEDS = 1000, 8192, 5
"""Of each training, and how many trainings a figure is the mean of."""


def scale_notes(epochs: int, chunks_per_epoch: int) -> list[str]:
    """What makes trainings shorter or longer than the paper's, in words."""
    sizes = ((epochs, EPOCHS, "epochs"), (chunks_per_epoch, CHUNKS_PER_EPOCH, "chunks an epoch"))
    return [f"{ours:,} of {full:,} {unit}" for ours, full, unit in sizes if ours != full]


def seeds_note(fewest: int, most: int) -> str:
    """What makes rows of so many trainings less than the paper's, in words; "" if nothing does."""
    if fewest >= SEEDS:
        return ""
    count = fewest if fewest == most else f"{fewest} to {most}"
    return f"{count} of {SEEDS} seeds"


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
