"""One file per super-resolution network: build it, know it by its tensors, collapse it."""
