"""All faults, in the order of the stages."""

from __future__ import annotations

from seeded.device_faults import DEVICE, LATENCY
from seeded.file_faults import CONVERSION, PACKAGING, QUANTIZATION
from seeded.picture_faults import DATA, METRIC

FAULTS = (*DATA, *METRIC, *PACKAGING, *CONVERSION, *QUANTIZATION, *DEVICE, *LATENCY)
