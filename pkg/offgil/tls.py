"""How a client's TLS arguments become the core's."""

from __future__ import annotations

import os

from offgil import _core
from offgil.errors import UnusableCertificate

__all__ = ["CertTypes", "configure_tls"]

Path = str | os.PathLike[str]
CertTypes = Path | tuple[Path, Path] | tuple[Path, Path, str]

_VERSIONS = {"1.0": 10, "1.1": 11, "1.2": 12, "1.3": 13}


def configure_tls(
    config: _core.Config, verify: bool | Path, cert: CertTypes | None, lowest: str, highest: str | None
) -> None:
    """Check the arguments of :class:`BaseClient` and hand them to ``config``.

    Raises:
        ValueError: a version is unknown, or the lowest is above the highest.
        UnusableCertificate: the files of ``cert`` cannot be read or do not belong together, or ``verify`` is not there.
    """
    if not isinstance(verify, bool):
        _require(verify)
    config.set_authorities(bool(verify), "" if isinstance(verify, bool) else os.fspath(verify))
    bounds = _version("tls_min", lowest), 0 if highest is None else _version("tls_max", highest)
    if bounds[1] and bounds[0] > bounds[1]:
        raise ValueError(f"tls_min={lowest!r} is above tls_max={highest!r}")
    config.set_tls_versions(*bounds)
    if cert is None:
        return
    if isinstance(cert, (str, os.PathLike)):
        config.set_certificate(os.fspath(cert), os.fspath(cert), "")
    elif isinstance(cert, tuple) and len(cert) in (2, 3):
        config.set_certificate(os.fspath(cert[0]), os.fspath(cert[1]), cert[2] if len(cert) == 3 else "")
    else:
        raise TypeError("cert must be the path of a PEM file, (chain, key) or (chain, key, password)")


def _require(authorities: Path) -> None:
    try:
        os.stat(authorities)
    except OSError as exc:
        raise UnusableCertificate(f"verify={os.fspath(authorities)!r}: {exc.strerror}") from exc


def _version(argument: str, name: str) -> int:
    try:
        return _VERSIONS[name]
    except (KeyError, TypeError):
        raise ValueError(f"{argument}={name!r}: must be one of {', '.join(map(repr, _VERSIONS))}") from None
