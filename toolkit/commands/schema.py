"""`edgesr schema`: the JSON Schema that editors use to complete recipes and targets."""

from __future__ import annotations

import argparse
import json

from toolkit.spec.schema import recipe_schema, target_schema


def run(arguments: argparse.Namespace) -> int:
    """Print the schema."""
    schema = recipe_schema() if arguments.kind == "recipe" else target_schema()
    print(json.dumps(schema, indent=2))  # noqa: T201
    return 0
