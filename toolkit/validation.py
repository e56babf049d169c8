"""Whether a file is as good as another: per stage and picture, with every gate's verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from toolkit.benchmark import Device
from toolkit.report import Verdict

SCHEMA = 1  # of the JSON value
# conversion: converted float against the float network; quantization: INT8 against the converted
# float; device: the device against this host, same file; total: the file against the float network
StageName = Literal["conversion", "quantization", "device", "total"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A bootstrap confidence interval of a mean."""

    low: float
    high: float
    confidence: float = 0.95


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much one stage may lose; None is not held."""

    mean_db: float | None = None
    worst_db: float | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One picture through a file, beside the picture of what it is compared with.

    Levels are of 255, over all planes of the network's colour kind.
    """

    name: str
    psnr_db: float  # against the HR picture
    ssim: float
    reference_psnr_db: float
    reference_ssim: float
    max_error_levels: int  # largest difference of the two pictures
    within_one_share: float  # pixels whose levels differ by at most one, 0 to 1
    bias_levels: float  # mean signed difference, file minus reference
    inner_rms_levels: float = 0.0  # root mean square of the difference away from the border
    border_rms_levels: float = 0.0  # the same in the band along the picture's border
    wrapped_px: int = 0  # values that are bright in one picture and dark in the other

    @property
    def drop_db(self) -> float:
        """Reference minus file; positive is a loss. Two perfect pictures differ by nothing."""
        if self.reference_psnr_db == self.psnr_db:
            return 0.0  # infinity minus infinity is no number
        return self.reference_psnr_db - self.psnr_db


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One file held against one other on every picture."""

    name: StageName
    file: str
    against: str  # file name, or "float network"
    budget: Budget
    images: tuple[Comparison, ...]
    interval: Interval  # of the mean drop

    @property
    def psnr_db(self) -> float:
        """Mean of the file's PSNR per picture: never the PSNR of a mean error."""
        return sum(i.psnr_db for i in self.images) / len(self.images)

    @property
    def ssim(self) -> float:
        """Mean of the file's SSIM per picture."""
        return sum(i.ssim for i in self.images) / len(self.images)

    @property
    def mean_db(self) -> float:
        """Mean of the drops."""
        return sum(i.drop_db for i in self.images) / len(self.images)

    @property
    def worst(self) -> Comparison:
        """The picture that loses most; one without a number loses more than any other."""
        return max(self.images, key=lambda i: math.inf if math.isnan(i.drop_db) else i.drop_db)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Everything that QA asked of a bundle or a file, and the answer."""

    subject: str  # the bundle's or the file's name
    recipe: str  # "" for a bare file
    target: str  # "" for a bare file
    passed: bool
    protocol: str
    data: Mapping[str, Any]  # name, count, digest, where LR came from
    stages: tuple[Stage, ...]
    verdicts: tuple[Verdict, ...]  # every gate of every stage and check, in order
    digests: Mapping[str, str]  # file -> SHA-256
    device: Device | None  # where the device stage ran
    versions: Mapping[str, str]
    warnings: tuple[str, ...]
    toolkit: str
    taken_at: str  # ISO 8601, UTC
    schema: int = SCHEMA

    def as_json(self) -> dict[str, Any]:
        """The validation as a JSON value."""
        return asdict(self)
