"""A certificate authority of one's own, as companies have them, and the certificate of a server that it has signed."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Signed(NamedTuple):
    """PEM files: the authority's certificate, and a server's certificate and key in one."""

    authority: Path
    server: Path


def signed_for(folder: Path, *hosts: str) -> Signed:
    """A new authority, and a certificate for names and addresses; both hold for a day."""
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of our own")])
    named = x509.SubjectAlternativeName([_name(host) for host in hosts])
    ca = x509.BasicConstraints(ca=True, path_length=0), x509.BasicConstraints(ca=False, path_length=None)
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    root = _builder(issuer, issuer, authority_key).add_extension(ca[0], True).add_extension(identifier, False)
    leaf = _builder(x509.Name([]), issuer, server_key).add_extension(ca[1], True).add_extension(named, True)
    signatures = [one.sign(authority_key, hashes.SHA256()) for one in (root, leaf.add_extension(above, False))]
    root_pem, leaf_pem = (one.public_bytes(serialization.Encoding.PEM) for one in signatures)
    key_pem = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files = Signed(folder / "authority.pem", folder / "server.pem")
    files.authority.write_bytes(root_pem)
    files.server.write_bytes(key_pem + leaf_pem)
    return files


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
