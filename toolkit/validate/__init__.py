"""Files on pictures: as good as the float network, on the mean and on the worst."""
