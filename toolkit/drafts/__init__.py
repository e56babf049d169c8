"""From a passed bundle to a release: model, figures, and the papers that prove it."""
