"""One file per transformation: a spine file in, a spine file out."""
