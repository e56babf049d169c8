"""A release in the formats of other update systems; one file per format."""
