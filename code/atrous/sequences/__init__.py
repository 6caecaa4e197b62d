"""Networks on sequences, (B, C, T): causal ones, and those of audio."""
