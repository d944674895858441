"""What a connection to etcd trusts and shows: read from files, and again when they change."""

from __future__ import annotations

import ssl
from pathlib import Path

from slaplanner.settings import EtcdConnection
from slaplanner.virtual.channel import ChannelError


class EtcdTls:
    """Makes TLS contexts; certificates live shorter than the programs that show them."""

    def __init__(self, connection: EtcdConnection) -> None:
        self._connection = connection
        self._made: ssl.SSLContext | bool | None = None
        self._stamps: tuple[object, ...] | None = None

    @property
    def spoken(self) -> bool:
        """Whether any endpoint is reached by TLS."""
        return _speaks_tls(self._connection)

    def context(self) -> ssl.SSLContext | bool:
        """For the next connection. While new files do not fit together yet, that of the old ones.

        Raises:
            ChannelError: there are no readable ones yet.
        """
        certificate = self._connection.client_certificate
        files = [
            self._connection.ca_file,
            *((certificate.cert_file, certificate.key_file) if certificate else ()),
        ]
        stamps = tuple(_stamp(file) for file in files if file is not None)
        if self._made is None or stamps != self._stamps:
            try:
                self._made = _made_of(self._connection)
                self._stamps = stamps
            except (OSError, ssl.SSLError) as error:
                if self._made is None:
                    raise ChannelError(f"etcd: its certificates cannot be read: {error}") from error
        return self._made


def _made_of(connection: EtcdConnection) -> ssl.SSLContext | bool:
    if not _speaks_tls(connection):
        return True
    context = ssl.create_default_context(cafile=str(connection.ca_file) if connection.ca_file else None)
    certificate = connection.client_certificate
    if certificate is not None:
        context.load_cert_chain(certificate.cert_file, certificate.key_file)
    return context


def _speaks_tls(connection: EtcdConnection) -> bool:
    return any(endpoint.startswith("https://") for endpoint in connection.endpoints)


def _stamp(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
