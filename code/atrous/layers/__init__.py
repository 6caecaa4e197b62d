"""Modules that networks are built of, and the specifications behind them."""
