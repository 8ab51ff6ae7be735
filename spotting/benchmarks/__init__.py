"""What `python -m spotting.benchmark` measures: the device, a row's network, scoring a split."""
