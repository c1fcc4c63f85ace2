"""A Jupyter kernel to type into."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

SECONDS = 120.0
"""That a cell may take, the first one with its imports too."""


@dataclass
class Shown:
    """What a cell has shown."""

    out: str = ""
    err: str = ""
    error: str | None = None
    """Name of the exception, if there was one."""


@dataclass
class Kernel:
    """A kernel in a process of its own, which is interrupted as a notebook's stop button does."""

    folder: Path
    manager: KernelManager = field(init=False)
    client: BlockingKernelClient = field(init=False)

    def __enter__(self) -> Kernel:
        self.manager = KernelManager(kernel_name="python3", transport="ipc", ip=str(self.folder / "k"))
        self.manager.start_kernel(cwd=str(self.folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def run(self, code: str, interrupt_at: str | None = None) -> Shown:
        """Run a cell, and interrupt it as soon as it has shown some text."""
        shown = Shown()
        asked = self.client.execute(code)
        ends = time.monotonic() + SECONDS
        while True:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=max(0.1, ends - time.monotonic()))
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != asked:
                continue
            if kind == "error":
                shown.error = content["ename"]
            elif kind == "stream" and content["name"] == "stdout":
                shown.out += content["text"]
            elif kind == "stream":
                shown.err += content["text"]
            elif kind == "status" and content["execution_state"] == "idle":
                return shown
            if interrupt_at is not None and interrupt_at in shown.out + shown.err:
                interrupt_at = None
                self.manager.interrupt_kernel()
