"""A made sky as a public HATS collection, and servers that give it, well or badly. All of it on 127.0.0.1."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmatch_hats import healpix
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.pull import SilentPull
from xmatch_hats.catalogs.region import Cone
from xmatch_hats.catalogs.remote import Retry

FAST = Retry(attempts=8, wait_initial_s=0.001, wait_max_s=0.005)
CONE = Cone(0.1, -0.2, 1.0)
"""Across RA 0 and the equator, within the rows that `made_rows` makes."""


def made_rows(n=40_000, seed=0, half_width=2.0) -> pa.Table:
    """Rows around RA 0, Dec 0, across base cells, with big integers, nulls and strings."""
    rng = np.random.default_rng(seed)
    ra = rng.uniform(-half_width, half_width, n) % 360
    dec = rng.uniform(-half_width, half_width, n)
    mag = pa.array(rng.normal(15, 2, n), mask=rng.random(n) < 0.1)
    table = pa.table(
        {
            "ra": ra,
            "dec": dec,
            "source": pa.array(np.arange(n) + (1 << 60)),
            "mag": mag,
            "flag": pa.array([f"f{i % 7}" for i in range(n)]),
            "_healpix_29": healpix.cells_of(ra, dec),
        }
    )
    return table.sort_by("_healpix_29")


def write_hats(
    folder: Path,
    table: pa.Table,
    *,
    order=5,
    name="made",
    suffix=".parquet",
    row_group_rows=800,
    collection=True,
    ra="ra",
    dec="dec",
    hive=True,
    info=True,
    properties_name="hats.properties",
) -> Path:
    """Write a HATS catalogue by hand, as its format says, without the libraries under test."""
    root = folder / name if collection else folder
    root.mkdir(parents=True)
    if collection:
        (folder / "collection.properties").write_text(
            f"#HATS Collection\nobs_collection={name}_collection\nhats_primary_table_url={name}\n"
        )
    pixels = np.asarray(table["_healpix_29"]) >> 2 * (29 - order)
    for pixel in np.unique(pixels).tolist():
        rows = table.filter(pa.array(pixels == pixel))
        if hive:
            for column, value in (("Norder", order), ("Dir", 0), ("Npix", pixel)):
                rows = rows.append_column(column, pa.array(np.full(len(rows), value)))
        stem = root / "dataset" / f"Norder={order}" / f"Dir={pixel // 10000 * 10000}" / f"Npix={pixel}"
        parts = [rows] if suffix != "/" else [rows.slice(0, len(rows) // 2), rows.slice(len(rows) // 2)]
        for number, part in enumerate(parts):
            path = Path(f"{stem}{suffix}") if suffix != "/" else stem / f"part{number}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(part, path, row_group_size=row_group_rows, write_page_checksum=True)
    pq.write_metadata(rows.schema, root / "dataset" / "_common_metadata")
    if info:
        lines = [f"{order},{pixel}" for pixel in np.unique(pixels).tolist()]
        (root / "partition_info.csv").write_text("\n".join(["Norder,Npix", *lines]) + "\n")
    properties = {
        "obs_collection": name,
        "dataproduct_type": "object",
        "hats_nrows": len(table),
        "hats_col_ra": ra,
        "hats_col_dec": dec,
        "hats_col_healpix": "_healpix_29",
        "hats_col_healpix_order": 29,
        "hats_npix_suffix": suffix,
        "hats_order": order,
    }
    text = "#HATS catalog\n" + "".join(f"{key}={value}\n" for key, value in properties.items())
    (root / properties_name).write_text(text)
    return folder


class Server(ThreadingHTTPServer):
    """Serves a folder, with parts of files; `fault` may spoil an answer."""

    daemon_threads = True

    def __init__(self, folder: Path, *, ranges=True, etags=True, fault=None) -> None:
        self.folder, self.ranges, self.etags = folder, ranges, etags
        self.fault = fault or (lambda _handler, _number: None)
        self.lock = threading.Lock()
        self.number = 0
        self.sent_bytes = 0
        self.faults: Counter[str] = Counter()
        self.gets: Counter[str] = Counter()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=partial(self.serve_forever, poll_interval=0.02), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Clients that hang up are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args):
        """Quiet."""

    def do_HEAD(self):
        self._answer(send=False)

    def do_GET(self):
        self._answer(send=True)

    def _answer(self, send):
        server = self.server
        path = server.folder / self.path.lstrip("/")
        with server.lock:
            server.number += 1
            fault = server.fault(self, server.number) or ""
            server.faults.update([fault] if fault else [])
            server.gets.update([self.path] if send else [])
        if fault == "close":
            self.close_connection = True
        elif fault.startswith("/"):
            self._head(302, 0, {"Location": fault})
        elif path.is_dir() and not fault:
            self._list(path)
        elif fault.isdecimal() or not path.is_file():
            self._head(int(fault or 404), 0)
        else:
            self._give(path, fault, send)

    def _list(self, path):
        links = ["../", "?C=N;O=D", *(child.name for child in path.iterdir())]
        page = "".join(f'<a href="{link}">{link}</a>' for link in links).encode()
        self._head(200, len(page), {"Content-Type": "text/html"})
        self.wfile.write(page)

    def _give(self, path, fault, send):
        data, size = path.read_bytes(), path.stat().st_size
        status, headers = 200, {"ETag": f'"{path.stat().st_mtime_ns:x}-{size:x}"'} if self.server.etags else {}
        if self.server.ranges and (wanted := self.headers.get("Range")):
            start, end = wanted.removeprefix("bytes=").split("-")
            start, end = int(start), min(int(end or size - 1), size - 1)
            data, status = data[start : end + 1], 206
            headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        promised = len(data)
        if fault in ("truncated", "short") and send:
            data = data[: len(data) // 2]
        if fault == "truncated":
            # As many bytes as promised never come: the connection closes in the middle.
            self.close_connection = True
        elif fault == "short" and send:
            # A proxy that cut the answer, and tells the length of what is left of it.
            promised = len(data)
        elif fault == "garbage":
            data = bytes(len(data))
        self._head(status, promised, headers)
        if send:
            self.wfile.write(data)
            with self.server.lock:
                self.server.sent_bytes += len(data)

    def _head(self, status, length, extra=()):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for key, value in dict(extra).items():
            self.send_header(key, value)
        self.end_headers()


def now_and_then(every=4, kinds=("503", "close", "truncated", "short", "500", "429")):
    """Every so many requests one fault, each kind in turn."""

    def fault(_handler, number):
        return kinds[(number // every) % len(kinds)] if number % every == 0 else None

    return fault


class Told(SilentPull):
    """Remembers what it was told."""

    def __init__(self):
        self.said, self.stages, self.rows, self.bytes = [], [], 0, 0

    def say(self, text):
        self.said.append(text)

    def stage(self, name, total=0):
        self.stages.append((name, total))

    def fetched(self, bytes_, rows):
        self.bytes += bytes_
        self.rows += rows


def rows_of(copy: LocalCopy, columns=("ra", "dec", "source", "mag", "flag")) -> pa.Table:
    """Rows of a copy, sorted."""
    tables = [
        pq.read_table(path, columns=list(columns), partitioning=None)
        for path in (copy.main_path / "dataset").rglob("Npix=*.parquet")
    ]
    table = pa.concat_tables(tables)
    return table.sort_by("source" if "source" in columns else columns[0])
