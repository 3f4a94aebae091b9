"""What every wing may use: files, processes, progress, options."""
