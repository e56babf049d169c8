"""One file per runtime: lower a network to its files, open them, say what really runs."""
