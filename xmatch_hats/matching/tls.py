"""Encrypted connections to a Dask scheduler: three files that belong together."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xmatch_hats.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from distributed import Security

_ADDRESS = re.compile(r"([a-z]+://)?[^\s/]+:[0-9]{1,5}")


@dataclass(frozen=True)
class TlsFiles:
    """PEM files by which this side and a scheduler know each other."""

    ca: Path
    """Certificate of the authority that signed the scheduler's."""
    cert: Path
    """Certificate of this side."""
    key: Path
    """Its private key, without a passphrase."""

    @classmethod
    def of(cls, ca: str | Path | None, cert: str | Path | None, key: str | Path | None) -> TlsFiles | None:
        """Take three settings together: all of them, or none, which is None.

        Raises
        ------
        ConfigError
            Some are set, and some are not.
        """
        given = {"authority": ca, "certificate": cert, "key": key}
        missing = [name for name, path in given.items() if not path]
        if len(missing) == len(given):
            return None
        if missing or not (ca and cert and key):
            raise ConfigError(
                f"TLS to the Dask scheduler lacks the {' and the '.join(missing)}",
                hint="give the files of the authority, the certificate and the key, or none of them",
            )
        return cls(Path(ca).expanduser(), Path(cert).expanduser(), Path(key).expanduser())

    def security(self) -> Security:
        """What `distributed` takes.

        Raises
        ------
        ConfigError
            A file cannot be read, holds nothing of its kind, or the key is another certificate's.
        """
        self._check()
        from distributed import Security

        return Security(
            require_encryption=True,
            tls_ca_file=str(self.ca),
            tls_client_cert=str(self.cert),
            tls_client_key=str(self.key),
        )

    def _check(self) -> None:
        """Look at the files now: a connection would only say that it failed, or ask for a passphrase on a terminal."""
        for path in (self.ca, self.cert, self.key):
            try:
                path.read_bytes()
            except OSError as error:
                raise ConfigError(f"cannot be read: {error.strerror}", place=path) from error
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(self.ca)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError("holds no certificate of an authority in PEM format", place=self.ca) from error
        try:
            context.load_cert_chain(self.cert, self.key, password=_no_passphrase)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"is not the certificate of the key {self.key}: {error}",
                place=self.cert,
                hint="give both in PEM format, the key without a passphrase",
            ) from error


def _no_passphrase() -> str:
    return ""


def check_address(address: str | None, tls: TlsFiles | None) -> None:
    """Check the address of a scheduler, and that the files of a certificate go with it.

    Raises
    ------
    UsageError
        It is none, is encrypted and has no files, or has files and is not encrypted.
    """
    if address is not None and not _ADDRESS.fullmatch(address):
        raise UsageError(
            f"{address!r} is not the address of a Dask scheduler", hint="write tcp://HOST:PORT", value=address
        )
    is_encrypted = address is not None and address.startswith(("tls://", "wss://"))
    if tls is not None and not is_encrypted:
        raise UsageError(
            "TLS files are for a scheduler whose address begins with tls://", place=address, hint="leave them out"
        )
    if is_encrypted and tls is None:
        from dask import config

        # Dask's own configuration may name them.
        if not config.get("distributed.comm.tls.ca-file", None):
            raise UsageError(
                "a scheduler with TLS needs the files of an authority, a certificate and a key", place=address
            )
