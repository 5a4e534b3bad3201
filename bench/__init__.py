"""What it costs, as ratios within one run; absolute figures belong to the machine."""
