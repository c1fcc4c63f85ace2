"""Verification of a local copy: every row where it belongs, once, and all metadata saying the same."""

from __future__ import annotations

from xmatch_hats.catalogs.verify.report import Check, Place, Progress, VerifyReport
from xmatch_hats.catalogs.verify.run import verify_copy

__all__ = ["Check", "Place", "Progress", "VerifyReport", "verify_copy"]
