"""What the FITS files of images are; a module of its own, as the command line starts without what reads them."""

from __future__ import annotations

from typing import Literal

Kind = Literal["exposure", "tile"]
"""Every image HDU is a CCD of an exposure, or the first one is all."""
