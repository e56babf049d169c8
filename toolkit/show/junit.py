"""A Validation as JUnit XML: one test case per gate and file, for the CI system to show."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from toolkit.benchmark import Benchmark, FileTiming
from toolkit.latency import summary
from toolkit.report import Verdict
from toolkit.show.rows import bound, number
from toolkit.show.text import printable
from toolkit.show.validation_rows import how_to_measure, unmeasured
from toolkit.show.verdict_words import gate_sentence, held_text, value_text
from toolkit.validation import Validation

# What to do about a gate that failed, by the start of its name; the first that fits is said.
HINTS = (
    ("conversion.", "the float file is not the network: look at the converter, before INT8"),
    ("quantization.", "`edgesr run` tries further rungs; its report names the layers that lose"),
    ("device.golden", "other numbers than here: check the runtime's version on the device"),
    ("device.", "the device computes otherwise than this host: check the runtime's version there"),
    ("total.", "the stages of this file say which of them loses"),
    ("seams", "tiles overlap too little: the halo must be the receptive field of the network"),
    ("borders", "the network pads its input otherwise than the float network"),
    ("charts.", "a flat or simple picture shows what it is: range, channel order, half a pixel"),
    ("clip", "the output leaves its range: the file must clip before it rounds"),
    ("bias_levels", "the file rounds to one side: check rounding of the output"),
    ("levels", "the output is rounded twice: the last range must end at white, on 255 steps"),
    ("reference.gain_db", "name the float network that this file was made from: --reference"),
    ("reference.", "the float network draws no picture: state --white and --color, or its file"),
    ("report", "the figures of the report do not come again: make the bundle again"),
    ("digest", "the files are not those of the manifest: make the bundle again"),
    ("golden", "the file does not give what it gave when it was packed: make the bundle again"),
    (
        "pairs",
        "HR and LR do not belong together: make LR again, leave it out, or accept it with --own-lr",
    ),
    ("protocol", "numbers of two protocols cannot be compared: measure both with the same one"),
    ("baseline_precision", "the float file ran in less than float32: compare with true float32"),
    ("stable", "quiet the device, let it cool, or set the governor with `--tune`; then again"),
    ("latency_", "another target file, a smaller network, or a limit that the device can hold"),
    ("coverage", "operators fell back to another unit: the benchmark says which"),
    ("int8_macs_share", "layers run in float: the report of the run names them"),
)


def junit_text(validation: Validation, benchmark: Benchmark | None) -> str:
    """The XML, with a declaration; one suite per file, its class names are the target.

    No case has a time: a gate is held against numbers that were there already, and latency is no
    duration of a test. Skipped: what nobody measured. Structure: the JUnit schema of Jenkins'
    xUnit plugin (`junit-10.xsd`). Control characters in names are written as escapes.
    """
    files = dict.fromkeys([s.file for s in validation.stages])
    files |= dict.fromkeys(v.file for v in validation.verdicts)
    root = ET.Element("testsuites", name=_clean(f"edgesr validate {validation.subject}"))
    suites = [_suite(validation, benchmark, file) for file in files]
    if not validation.passed and all(verdict.passed for verdict in validation.verdicts):
        suites.append(_refused(validation))
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    root.extend(suites)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(validation: Validation, benchmark: Benchmark | None, file: str) -> ET.Element:
    verdicts = [v for v in validation.verdicts if v.file == file]
    cases = [_case(validation, v.gate, file, _found(v)) for v in verdicts]
    is_file = any(stage.file == file for stage in validation.stages)
    missing = unmeasured(validation, file) if is_file else []
    skipped = [
        _case(validation, gate, file, _skipped(validation, benchmark, gate, file))
        for gate in missing
    ]
    suite = ET.Element(
        "testsuite",
        name=_clean(file or validation.subject),
        tests=str(len(cases) + len(skipped)),
        failures=str(sum(not v.passed for v in verdicts)),
        errors="0",
        skipped=str(len(skipped)),
        timestamp=_clean(validation.taken_at[:19]),  # UTC; older readers know no zone
    )
    if validation.device is not None:
        suite.set("hostname", _clean(validation.device.name))
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(validation, benchmark, file):
        ET.SubElement(properties, "property", name=_clean(name), value=_clean(value))
    suite.extend([*cases, *skipped])
    return suite


def _refused(validation: Validation) -> ET.Element:
    """A validation that failed without a gate must not look green."""
    name = _clean(validation.subject)
    suite = ET.Element("testsuite", name=name, tests="1", failures="1", errors="0")
    why = _clean("; ".join(validation.warnings) or "the validation failed without a gate")
    failure = ET.Element("failure", type="refused", message=why)
    suite.append(_case(validation, "verdict", "", failure))
    return suite


def _case(validation: Validation, gate: str, file: str, inner: ET.Element) -> ET.Element:
    """CI systems tell cases by class and name, so the name has the file in it."""
    name = f"{gate} [{file}]" if file else gate
    group = validation.target or validation.subject
    case = ET.Element("testcase", classname=_clean(group), name=_clean(name))
    case.append(inner)
    return case


def _found(verdict: Verdict) -> ET.Element:
    """The failure with what to do; of a gate that held, its value."""
    if verdict.passed:
        element = ET.Element("system-out")
        parts = (held_text(verdict), verdict.note)
        element.text = _clean("; ".join(part for part in parts if part))
        return element
    element = ET.Element(
        "failure", type=_clean(verdict.gate), message=_clean(gate_sentence(verdict))
    )
    lines = {
        "what": gate_sentence(verdict),
        "where": ", ".join(part for part in (verdict.file, verdict.note) if part),
        "found": value_text(verdict),
        "limit": bound(verdict),
        "do": next((hint for start, hint in HINTS if verdict.gate.startswith(start)), ""),
    }
    element.text = "\n".join(f"{key}: {_clean(text)}" for key, text in lines.items() if text)
    return element


def _skipped(
    validation: Validation, benchmark: Benchmark | None, gate: str, file: str
) -> ET.Element:
    how = how_to_measure(gate)
    if benchmark is not None and not gate.startswith("device."):
        return ET.Element("skipped", message=_clean(_not_gated(benchmark, file)))
    if gate.startswith("device.") and validation.device is not None:
        how = f"the file was not run on {validation.device.name}"
    return ET.Element("skipped", message=_clean(f"not measured; {how}"))


def _not_gated(benchmark: Benchmark, file: str) -> str:
    """Why times have no verdict here: `edgesr run` and `edgesr bench` hold their limits."""
    own = [timing for timing in benchmark.files if timing.file == file]
    if own and not any(timing.samples_ns or timing.stated_ms for timing in own):
        return "the device ran this file for its numbers only, nothing was timed"
    unsure = [reason for timing in own for reason in timing.stability.reasons]
    if unsure:
        return f"times were taken and are UNSTABLE: {'; '.join(unsure)}"
    return "times were taken, but no limit is set on them" if own else "this file was not timed"


def _properties(
    validation: Validation, benchmark: Benchmark | None, file: str
) -> Iterator[tuple[str, str]]:
    """What the numbers rest on: digests, data, protocol, device, versions, times."""
    for name in ("subject", "recipe", "target", "protocol", "toolkit", "taken_at"):
        yield name, getattr(validation, name)
    weights = file.removesuffix(".xml") + ".bin"  # of an IR
    for name, digest in validation.digests.items():
        if not file or name in (file, weights):
            yield f"sha256.{name}", digest
    for key, value in validation.data.items():
        yield f"data.{key}", str(value)
    for key, value in validation.versions.items():
        yield f"version.{key}", value
    device = validation.device or (benchmark.device if benchmark else None)
    if device is not None:
        for name in ("url", "name", "identity", "machine", "system"):
            yield f"device.{name}", getattr(device, name)
    for timing in benchmark.files if benchmark else ():
        if timing.file == file:
            yield from _times(timing)


def _times(timing: FileTiming) -> Iterator[tuple[str, str]]:
    yield "latency.runtime", timing.runtime
    yield "latency.sha256", timing.digest
    yield "latency.stable", "yes" if timing.stability.is_stable else "UNSTABLE"
    if timing.stability.reasons:
        yield "latency.unstable", "; ".join(timing.stability.reasons)
    taken = summary(timing)
    for name in ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "first_ms", "load_ms"):
        value = getattr(taken, name) if taken else None
        if value is not None:
            yield f"latency.{name}", number(value, 3)
    if taken:
        yield "latency.runs", str(taken.runs)


def _clean(text: str) -> str:
    """Text without anything that XML 1.0 has no way to write."""
    return printable(text)
