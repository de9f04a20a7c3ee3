"""What can be read of an :class:`ssl.SSLContext`, for a TLS that is not Python's.

A context is read once, when a transport is made.  What cannot be seen in one cannot be refused either: a certificate
that ``load_cert_chain`` was given has to be given as ``cert=``, too, and a server's own certificate, loaded to trust it
without an authority, is not taken over: give its file as ``verify=``.
"""

from __future__ import annotations

import os
import ssl

from offgil import _core
from offgil.errors import UnusableSSLContext

__all__ = ["configure_context"]

#: From the oldest, with the option that excludes each, and the core's number for it.
_VERSIONS = (
    (ssl.TLSVersion.TLSv1, ssl.OP_NO_TLSv1, 10),
    (ssl.TLSVersion.TLSv1_1, ssl.OP_NO_TLSv1_1, 11),
    (ssl.TLSVersion.TLSv1_2, ssl.OP_NO_TLSv1_2, 12),
    (ssl.TLSVersion.TLSv1_3, ssl.OP_NO_TLSv1_3, 13),
)
_REVOCATION = ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF | ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


def configure_context(config: _core.Config, context: ssl.SSLContext) -> None:
    """Take over authorities, how they are used, and versions.

    Raises:
        UnusableSSLContext: the context asks for something else that can be seen.
    """
    _refuse(context)
    verify = context.verify_mode != ssl.CERT_NONE
    config.set_authorities(verify, "")
    config.set_tls_versions(*_versions(context))
    # It asks the system at each handshake, and holds nothing.
    if not verify or type(context).__module__.partition(".")[0] == "truststore":
        config.set_verification(context.check_hostname, 0, "")
        return
    authorities = context.get_ca_certs(binary_form=True)
    if not authorities:
        raise UnusableSSLContext(
            "verify=SSLContext: no authorities can be read from it; those of a folder (capath) are invisible until "
            "they are used. Load a file (cafile), or give verify=True or the path itself"
        )
    flags = int(context.verify_flags)
    config.set_verification(context.check_hostname, flags, "".join(map(ssl.DER_cert_to_PEM_cert, authorities)))


def _versions(context: ssl.SSLContext) -> tuple[int, int]:
    lowest, highest = context.minimum_version, context.maximum_version
    allowed = [
        number
        for version, excluded, number in _VERSIONS
        if not context.options & excluded
        and (lowest == ssl.TLSVersion.MINIMUM_SUPPORTED or version >= lowest)
        and (highest == ssl.TLSVersion.MAXIMUM_SUPPORTED or version <= highest)
    ]
    if not allowed:
        raise UnusableSSLContext("verify=SSLContext: it allows no version of TLS")
    numbers = [number for *_, number in _VERSIONS]
    if allowed != numbers[numbers.index(allowed[0]) : numbers.index(allowed[-1]) + 1]:
        raise UnusableSSLContext("verify=SSLContext: its options leave a gap in the versions of TLS")
    return allowed[0], 0 if allowed[-1] == numbers[-1] else allowed[-1]


def _refuse(context: ssl.SSLContext) -> None:
    """Raise for settings that differ from a fresh context's and would be lost."""
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        raise UnusableSSLContext("verify=SSLContext: it is a server's; make one with ssl.create_default_context()")
    usual = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if [cipher["name"] for cipher in context.get_ciphers()] != [cipher["name"] for cipher in usual.get_ciphers()]:
        raise UnusableSSLContext("verify=SSLContext: it has ciphers of its own (set_ciphers)")
    if context.verify_flags & _REVOCATION:
        raise UnusableSSLContext("verify=SSLContext: it checks for revocation (verify_flags), by invisible lists")
    if context.keylog_filename not in (None, os.environ.get("SSLKEYLOGFILE")):
        raise UnusableSSLContext("verify=SSLContext: keylog_filename; set SSLKEYLOGFILE in the environment instead")
    if context.post_handshake_auth:
        raise UnusableSSLContext("verify=SSLContext: post_handshake_auth cannot be had")
