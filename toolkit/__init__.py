"""edge-sr-toolkit: a trained super-resolution network in, proven artefacts for a device out.

recipe.yaml + target.yaml -> Plan -> Network -> Step -> Network -> ... -> artefacts
    -> Measurement -> Verdict -> Report -> Bundle
"""

__version__ = "0.1.0"
