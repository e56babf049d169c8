"""What times on a device do not say of the target that its files were made for."""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.benchmark import Benchmark, Device
from toolkit.spec.target import Target

OTHER_NAMES: Mapping[str, str] = {"arm64": "aarch64", "amd64": "x86_64", "armv8l": "armv7l"}


def machine_remarks(device: Device, target: Target) -> tuple[str, ...]:
    """A sentence where the device has another instruction set than the target; else nothing.

    An emulated device gives no times, and a target of any machine is met by all.
    """
    machine = OTHER_NAMES.get(device.machine, device.machine)
    if device.is_emulated or not machine or target.machine in (None, machine):
        return ()
    name = target.title.partition(",")[0]
    return (f"the device is {machine}, {name} is {target.machine}: its times are not the target's",)


def engine_remarks(taken: Benchmark) -> tuple[str, ...]:
    """A sentence for files of TensorRT's that another runtime ran in its place."""
    names = [t.file for t in taken.files if t.backend == "tensorrt" and t.tool == "runner"]
    if not names:
        return ()
    return (
        f"no TensorRT engine was built of {', '.join(dict.fromkeys(names))}: ONNX Runtime ran it "
        "in TensorRT's place, and an engine's time differs; trtexec on the device builds one",
    )
