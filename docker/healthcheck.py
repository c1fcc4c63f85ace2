#!/usr/bin/env python3
"""Exit with 0 if an address answers 200: the health check of containers.

Usage: healthcheck.py [URL], by default the step's own ``/live``.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from http.client import HTTPException

TIMEOUT_SECONDS = 4.0


def main(arguments: list[str]) -> str | None:
    """Ask, and return what is wrong."""
    url = arguments[0] if arguments else f"http://127.0.0.1:{os.environ.get('HTTP_PORT', '8080')}/live"
    # The environment's proxy does not lead to the container itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as answer:
            return None if answer.status == 200 else f"{url}: status {answer.status}"
    except (OSError, HTTPException, ValueError) as error:
        return f"{url}: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
