"""What a device is and has, asked with POSIX sh alone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from toolkit.benchmark import Device
from toolkit.contracts import Finished, Link
from toolkit.digest import sha256_json
from toolkit.errors import EnvironmentFailure
from toolkit.measure.words import marked, plain

PROBE_S = 60.0
FIRST_LINE = "edgesr-probe 1"
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
PACKAGES = {  # distribution -> the module that is imported
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "ai-edge-litert": "ai_edge_litert",
    "tflite-runtime": "tflite_runtime",
}
VENDOR_TOOLS = ("trtexec", "benchmark_model", "benchmark_app")

# Where everything of ours lives. In the shared /tmp, a folder that someone else made is not used.
ROOT = """\
LC_ALL=C; export LC_ALL; umask 077
root=${EDGESR_HOME:-}
if [ -z "$root" ] && [ -n "${HOME:-}" ] && [ "$HOME" != / ] && [ -w "$HOME" ]; then
  root=$HOME/.cache/edgesr
fi
if [ -z "$root" ] && [ -w /data/local/tmp ]; then root=/data/local/tmp/edgesr; fi
if [ -z "$root" ]; then root=/tmp/edgesr-$(id -u); fi
case $root in
/*) ;;
*) echo "EDGESR_HOME is no absolute path: $root" >&2; exit 1;;
esac
if [ -d "$root" ]; then root=$(cd "$root" && pwd -P); fi
now() {  # seconds that no clock setting changes
  if read -r up rest </proc/uptime 2>/dev/null; then echo "${up%%.*}"; else date +%s; fi
}
free_kb() { set -- $(df -Pk "$1" 2>/dev/null | tail -n 1); echo "$4"; }
boot() { cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo unknown; }
"""

# One way to hash each; the first that knows the digest of no bytes is used.
HASHES = {
    "sha256sum": 'set -- $(sha256sum < "$1"); echo "$1"',
    "busybox": 'set -- $(busybox sha256sum < "$1"); echo "$1"',
    "toybox": 'set -- $(toybox sha256sum < "$1"); echo "$1"',
    "openssl": 'h=$(openssl dgst -sha256 < "$1"); echo "${h##* }"',
    "shasum": 'set -- $(shasum -a 256 < "$1"); echo "$1"',
    "python3": (
        '"${python:-python3}" -c "import hashlib, sys\n'
        "h = hashlib.sha256()\n"
        "for part in iter(lambda: sys.stdin.buffer.read(1 << 20), b''): h.update(part)\n"
        'print(h.hexdigest())" < "$1"'
    ),
}
_PYTHON_FACTS = """\
import sys
print("python_version=%d.%d.%d" % sys.version_info[:3])
try:
    from importlib.metadata import version
    from importlib.util import find_spec
except ImportError:
    sys.exit()
for package, module in {packages!r}.items():
    try:
        if find_spec(module):
            print("package." + package + "=" + version(package))
    except Exception as problem:
        if find_spec(module):
            print("package." + package + "=unknown")
"""
_FACTS = """\
echo 'FIRST_LINE'
tell() { key=$1; set -f; set -- $2; set +f; echo "$key=$*"; }  # on one line
first() { for f in "$@"; do if [ -s "$f" ] && [ -r "$f" ]; then cat "$f"; return; fi; done; }
prop() { command -v getprop >/dev/null 2>&1 && getprop "$1"; }
tell root "$root"
tell machine "$(uname -m)"
tell system "$(uname -s) $(uname -r)"
tell host "$(uname -n)"
tell user "$(id -un 2>/dev/null || id -u)"
tell id "$(first /etc/machine-id /var/lib/dbus/machine-id)"
tell serial "$(first /proc/device-tree/serial-number /sys/class/dmi/id/product_uuid 2>/dev/null ||
  :)$(prop ro.serialno)"
tell model "$(first /proc/device-tree/model)"
tell product "$(prop ro.product.manufacturer) $(prop ro.product.model)"
tell board "$(first /sys/class/dmi/id/sys_vendor) $(first /sys/class/dmi/id/product_name)"
if [ -r /proc/cpuinfo ]; then
  tell cores "$(grep -c '^processor' /proc/cpuinfo)"
  tell cpu "$(sed -n 's/^model name[[:space:]]*: //p;s/^Hardware[[:space:]]*: //p' /proc/cpuinfo |
    head -n 1)"
  tell implementer "$(sed -n 's/^CPU implementer[[:space:]]*: //p' /proc/cpuinfo | head -n 1)"
  tell part "$(sed -n 's/^CPU part[[:space:]]*: //p' /proc/cpuinfo | sort -u)"
fi
tell memory_kb "$(sed -n 's/^MemTotal:[[:space:]]*\\([0-9]*\\).*/\\1/p' /proc/meminfo 2>/dev/null)"
near=$root; while [ ! -d "$near" ]; do near=$(dirname "$near"); done
tell free_kb "$(free_kb "$near")"
if [ -w "$near" ]; then tell writable yes; else tell writable no; fi
python=
for candidate in "${EDGESR_PYTHON:-}" "$root/venv/bin/python3" python3 python; do
  if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1; then
    facts=$("$candidate" -c "$python_facts" 2>/dev/null) || continue
    python=$(command -v "$candidate"); tell python "$python"; printf '%s\\n' "$facts"; break
  fi
done
for tool in $hashes; do
  if [ "$(hash_with "$tool" /dev/null 2>/dev/null)" = "$empty" ]; then tell hash "$tool"; break; fi
done
if timeout 5 sh -c : >/dev/null 2>&1; then tell timeout yes; fi
for tool in $vendor_tools; do
  for place in "$(command -v "$tool" 2>/dev/null)" "/usr/src/tensorrt/bin/$tool" \\
    "/data/local/tmp/$tool"; do
    if [ -x "$place" ] && [ ! -d "$place" ]; then tell "tool.$tool" "$place"; break; fi
  done
done
tell now "$(now)"
tell boot "$(boot)"
if [ -d "$root/lock" ]; then
  tell lock there
  [ -r "$root/lock/owner" ] && head -c 2000 "$root/lock/owner" | sed 's/^/lock./'
fi
echo 'end=yes'
""".replace("FIRST_LINE", FIRST_LINE)
# Linux, arch/arm64/include/asm/cputype.h; Arm Ltd. is implementer 0x41.
ARM_PARTS = {
    "0xc07": "Cortex-A7", "0xc09": "Cortex-A9", "0xc0f": "Cortex-A15", "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77", "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE", "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510", "0xd47": "Cortex-A710", "0xd4d": "Cortex-A715", "0xd81": "Cortex-A720",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A device at one moment."""

    device: Device
    root: str  # the folder on the device under which everything of ours lives
    user: str
    hash: str  # key of HASHES; "" where nothing on the device can hash
    free_mb: float | None
    is_writable: bool
    has_timeout: bool  # `timeout N program` works
    python: str  # path of the Python that runs the runner; "" where there is none
    python_version: tuple[int, ...]
    packages: Mapping[str, str] = field(default_factory=dict)  # distribution -> version
    tools: Mapping[str, str] = field(default_factory=dict)  # the vendors' programs and their paths
    now_s: int = 0  # seconds since the device's start, or its clock
    boot: str = ""  # changes with every start of the device
    lock: Mapping[str, str] | None = None  # as its owner wrote it; None: the device is free


def probe_script() -> str:
    """The POSIX sh script; its stdout is `FIRST_LINE`, then lines `key=value`."""
    cases = "\n".join(f"  {name}) {body};;" for name, body in HASHES.items())
    facts = _PYTHON_FACTS.format(packages=PACKAGES)
    return (
        f"{ROOT}"
        f"hashes={shlex.quote(' '.join(HASHES))}\n"
        f"vendor_tools={shlex.quote(' '.join(VENDOR_TOOLS))}\n"
        f"empty={EMPTY_SHA256}; python_facts={shlex.quote(facts)}\n"
        f'hash_with() {{ tool=$1; shift; case "$tool" in\n{cases}\nesac; }}\n'
        f"{_FACTS}"
    )


def probe(link: Link) -> Probe:
    """Ask a device what it is. Raises LinkLost or EnvironmentFailure where it does not tell."""
    done = link.run(probe_script(), timeout_s=PROBE_S)
    return read_probe(done, link.url, is_emulated=link.is_emulated)


def read_probe(done: Finished, url: str, *, is_emulated: bool) -> Probe:
    """A `Probe` of what the script printed; every word of it is a stranger's."""
    values = marked(done, FIRST_LINE, url)
    if "end" not in values or not values.get("root", "").startswith("/"):
        raise EnvironmentFailure(
            f"the device did not say what it is (exit {done.code}): {plain(done.stderr)}",
            where=url,
            hint="it needs a POSIX shell with uname, sed, head and tail",
        )
    return Probe(
        device=_device(values, url, is_emulated=is_emulated),
        root=values["root"].rstrip("/"),
        user=values.get("user", ""),
        hash=values.get("hash", ""),
        free_mb=_number(values, "free_kb") / 1024 if "free_kb" in values else None,
        is_writable=values.get("writable") == "yes",
        has_timeout=values.get("timeout") == "yes",
        python=values.get("python", ""),
        python_version=_version(values.get("python_version", "")),
        packages=_group(values, "package."),
        tools=_group(values, "tool."),
        now_s=int(_number(values, "now")),
        boot=values.get("boot", ""),
        lock=_group(values, "lock.") if "lock" in values else None,
    )


def _device(values: Mapping[str, str], url: str, *, is_emulated: bool) -> Device:
    cpu = values.get("cpu", "").strip() or _arm_cores(values) or values.get("machine", "")
    name = next((values[k].strip() for k in ("model", "product", "board") if _told(values, k)), cpu)
    # what a device is called may be given to another one: only where it has nothing better
    lasting = [values.get("id", ""), values.get("serial", "")]
    if not any(lasting):
        lasting = [values.get("host", "")]
    machine = values.get("machine", "")
    return Device(
        url=url,
        name=name,
        identity=sha256_json(["edgesr device", *lasting, machine, cpu, name])[:16],
        machine=machine,
        cpu=cpu,
        cores=int(_number(values, "cores")),
        memory_mb=round(_number(values, "memory_kb") / 1024, 1),
        system=values.get("system", ""),
        is_emulated=is_emulated,
    )


def _told(values: Mapping[str, str], key: str) -> bool:
    return values.get(key, "").strip() != ""


def _arm_cores(values: Mapping[str, str]) -> str:
    if values.get("implementer", "").strip() != "0x41":
        return ""
    parts = values.get("part", "").split()
    return " + ".join(ARM_PARTS.get(part, f"Arm {part}") for part in parts)


def _group(values: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def _number(values: Mapping[str, str], key: str) -> float:
    text = values.get(key, "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0.0


def _version(text: str) -> tuple[int, ...]:
    numbers = re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4})*", text)
    return tuple(int(part) for part in text.split(".")) if numbers else ()
