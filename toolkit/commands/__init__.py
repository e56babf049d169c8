"""One file per command of `edgesr`: read, call, show, return the exit code."""
