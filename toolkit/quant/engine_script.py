"""The script that builds TensorRT engines on the board, where they must be built."""

from __future__ import annotations

from collections.abc import Sequence
from string import Template

from toolkit.contracts import Artefact
from toolkit.digest import sha256_file

LARGEST_SIDES_PX = (1088, 1920)  # upper end of the shape profile where a file's sizes are free
USUAL_SIDES_PX = (360, 640)

SCRIPT = Template(r"""#!/usr/bin/env bash
# Builds TensorRT engines from the ONNX files beside this script. Run it on the board itself: an
# engine works only with the GPU and the TensorRT release that built it, so never copy one.
# Needs trtexec of TensorRT 10 or 11 (JetPack 6 or 7). Usage: ./build_engine.sh [OUTPUT_FOLDER]
# OPT_SHAPE=HxW and MAX_SHAPE=HxW set the size profile of files with free sizes; KEEP_ENGINES=yes
# builds only what is not there yet.
set -euo pipefail

here="$$(cd -- "$$(dirname -- "$${BASH_SOURCE[0]}")" && pwd)"
out="$${1:-$$here/engines}"

fail() {
  printf 'error: %s\n' "$$1" >&2
  exit "$$2"
}

find_trtexec() {
  local candidate
  for candidate in "$${TRTEXEC:-}" "$$(command -v trtexec || true)" \
    /usr/src/tensorrt/bin/trtexec /usr/local/tensorrt/bin/trtexec; do
    if [[ -n "$$candidate" && -x "$$candidate" ]]; then
      printf '%s\n' "$$candidate"
      return
    fi
  done
  fail "trtexec not found; install TensorRT (apt install tensorrt) or set TRTEXEC" 3
}

# trtexec prints its release as vMMmmpp: v100300 is 10.3.0, v8602 is 8.6.2.
trt_release() {
  local digits
  digits="$$("$$1" --help 2>&1 | sed -n 's/.*TensorRT v\([0-9]*\)\].*/\1/p' | head -n 1 || true)"
  [[ -n "$$digits" ]] || fail "cannot read the TensorRT release from $$1" 3
  if ((digits >= 100000)); then
    printf '%d.%d\n' "$$((digits / 10000))" "$$((digits / 100 % 100))"
  else
    printf '%d.%d\n' "$$((digits / 1000))" "$$((digits / 100 % 10))"
  fi
}

gpu_name() {
  local name=""
  if command -v nvidia-smi > /dev/null; then
    name="$$(nvidia-smi --query-gpu=name --format=csv,noheader 2> /dev/null | head -n 1 || true)"
  fi
  if [[ -z "$$name" || "$$name" == *"[N/A]"* ]] && [[ -r /proc/device-tree/model ]]; then
    name="$$(tr -d '\0' < /proc/device-tree/model)"
  fi
  printf '%s' "$${name:-unknown-gpu}" | tr -cs 'A-Za-z0-9' '-' | sed 's/^-*//; s/-*$$//'
}

# sha256 must be the one the bundle was proven with.
check_digest() {
  local found
  found="$$(sha256sum -- "$$here/$$2" | cut -d ' ' -f 1)" || fail "$$2 is missing" 2
  [[ "$$found" == "$$1" ]] || fail "$$2 has sha256 $$found, expected $$1: do not use it" 5
}

# build FILE INPUT CHANNELS STATIC
build() {
  local stem="$${1%.onnx}" engine
  local -a shapes=()
  engine="$$out/$$stem.$$gpu.trt$$release.engine"
  if [[ "$$4" == no ]]; then
    shapes+=("--minShapes=$$2:1x$${3}x$least")
    shapes+=("--optShapes=$$2:1x$${3}x$${OPT_SHAPE:-$usual}")
    shapes+=("--maxShapes=$$2:1x$${3}x$${MAX_SHAPE:-$largest}")
  fi
  if [[ -n "$${KEEP_ENGINES:-}" && -e "$$engine" ]]; then
    printf 'kept %s\n' "$$engine"
    return
  fi
  printf 'building %s\n' "$$engine"
  # detailed: the engine keeps the precision of each layer, so that it can be looked at later
  "$$trtexec" --onnx="$$here/$$1" --saveEngine="$$engine.part" --skipInference \
    --profilingVerbosity=detailed "$${typing[@]}" "$${shapes[@]}"
  mv -f -- "$$engine.part" "$$engine"
}

trtexec="$$(find_trtexec)"
release="$$(trt_release "$$trtexec")"
gpu="$$(gpu_name)"
typing=()
case "$${release%%.*}" in
  10) typing=(--stronglyTyped) ;; # the file's own types and Q/DQ decide, no precision flags
  [0-9]) fail "TensorRT $$release is too old: explicit types need 10 or newer (JetPack 6.1)" 3 ;;
  *) ;; # from 11 on every network is strongly typed
esac
mkdir -p -- "$$out"

$digests

$builds
""")


def engine_script(artefacts: Sequence[Artefact]) -> str:
    """Text of `build_engine.sh` for these ONNX files, which must lie beside it under their names.

    It exits 5 where a file is not the one with this digest, 3 where TensorRT is missing or too old.
    """
    lines = [f"check_digest {sha256_file(a.path)} '{a.path.name}'" for a in artefacts]
    builds = [_build_line(a) for a in artefacts]
    least = max((a.contract.image.minimum_px for a in artefacts), default=1)
    return SCRIPT.substitute(
        digests="\n".join(lines),
        builds="\n".join(builds),
        least=f"{least}x{least}",
        usual="x".join(map(str, USUAL_SIDES_PX)),
        largest="x".join(map(str, LARGEST_SIDES_PX)),
    )


def _build_line(artefact: Artefact) -> str:
    tensor = artefact.contract.input
    is_static = "yes" if artefact.contract.tile else "no"
    return f"build '{artefact.path.name}' '{tensor.name}' {tensor.shape[1]} {is_static}"
