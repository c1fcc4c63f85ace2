"""A made-up sky and exposure, and the tour through them."""
