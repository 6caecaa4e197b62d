"""Edge detectors, their losses and their benchmark."""
