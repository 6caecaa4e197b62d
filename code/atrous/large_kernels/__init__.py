"""Large kernels made of dilated ones, and the networks around them."""
