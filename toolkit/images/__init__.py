"""Pictures in and out: decode, resize, luma, tiles, sets, video."""
