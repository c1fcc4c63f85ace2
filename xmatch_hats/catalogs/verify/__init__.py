"""Verification of a local copy: every row where it belongs, once, and all metadata saying the same."""

from __future__ import annotations

from xmatch_hats.catalogs.verify.report import Check, Place, Progress, VerifyReport
from xmatch_hats.catalogs.verify.run import verify_copy
from xmatch_hats.catalogs.verify.side import verify_side_copy

__all__ = ["Check", "Place", "Progress", "VerifyReport", "verify_copy", "verify_side_copy"]


def __dir__() -> list[str]:
    return sorted(__all__)
