"""From a recipe to verdicts: what to run, what is kept, what was measured."""
