"""Ground floor of every run: devices, seeds, checkpoints, logs, progress, signals and run folders."""
