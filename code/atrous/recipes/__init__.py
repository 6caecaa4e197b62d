"""Experiments of the papers at full scale: what they train, and the engine."""
