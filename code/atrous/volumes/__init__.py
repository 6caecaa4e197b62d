"""Networks on volumes, (B, C, D, H, W)."""
