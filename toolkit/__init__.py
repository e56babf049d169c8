"""edge-sr-toolkit: a trained super-resolution network in, proven artefacts for a device out.

recipe.yaml + target.yaml -> Plan -> Network -> Step -> Network -> ... -> artefacts
    -> Measurement -> Verdict -> Report -> Bundle
"""

import os

__version__ = "0.1.0"

# ONNX Runtime collects usage events and writes them to the user's cache unless it is told not to
# before it is loaded; child processes inherit the word.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
