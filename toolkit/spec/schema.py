"""JSON Schemas for editors and CI, written by the same tables that read the files.

`python -m toolkit.spec.schema` rewrites the two that ship beside this module.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toolkit.spec.fields import Table
from toolkit.spec.recipe_table import RECIPE
from toolkit.spec.target_table import TARGET

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path(__file__).parent


def _document(title: str, description: str, table: Table) -> dict[str, Any]:
    return {
        "$schema": DIALECT,
        "title": title,
        "description": description,
        **table.schema(),
    }


def recipe_schema() -> dict[str, Any]:
    """What a recipe may hold, in JSON Schema 2020-12."""
    return _document(
        "edgesr recipe", "One network, the steps to take, the targets, the gates to pass.", RECIPE
    )


def target_schema() -> dict[str, Any]:
    """What a target file may hold, in JSON Schema 2020-12."""
    return _document(
        "edgesr target", "What a device runs and what it cannot, each fact with its source.", TARGET
    )


def schema_text(schema: dict[str, Any]) -> str:
    """The file's text: indented, keys in the order of the tables."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def shipped_schemas() -> dict[Path, str]:
    """Path and text of each schema file in the package."""
    return {
        FOLDER / "recipe.schema.json": schema_text(recipe_schema()),
        FOLDER / "target.schema.json": schema_text(target_schema()),
    }


if __name__ == "__main__":
    for path, text in shipped_schemas().items():
        path.write_text(text)
