"""A throw-away certificate authority: keys that live as long as a bed does."""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=7)
CLOCK_SKEW = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """PEM files of a certificate and its private key."""

    certificate: Path
    key: Path


def new_rsa_key(path: Path) -> rsa.RSAPrivateKey:
    """A 2048 bit RSA key, written to *path* as PEM that only its owner may read."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return key


class CertificateAuthority:
    """Signs certificates for servers and clients on loopback."""

    def __init__(self, directory: Path, key: rsa.RSAPrivateKey, root: x509.Certificate) -> None:
        self.directory = directory
        self.certificate = directory / "ca.crt"
        self._key = key
        self._root = root

    @classmethod
    def create(cls, directory: Path) -> "CertificateAuthority":
        """Make a new authority whose files lie in *directory* (made when absent)."""
        directory.mkdir(parents=True, exist_ok=True)
        key = new_rsa_key(directory / "ca.key")
        name = _name("slaplanner test bed")
        root = (
            _builder(subject=name, issuer=name, key=key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        authority = cls(directory, key, root)
        authority.certificate.write_bytes(root.public_bytes(serialization.Encoding.PEM))
        return authority

    def issue(self, name: str, *, hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")) -> KeyPair:
        """A certificate in files called *name*, good for a server on *hosts* and for a client.

        It has no common name: etcd would take a client's for a user's name, and refuses it where
        users log in with passwords.
        """
        pair = KeyPair(certificate=self.directory / f"{name}.crt", key=self.directory / f"{name}.key")
        key = new_rsa_key(pair.key)
        signed = (
            _builder(subject=x509.Name([]), issuer=self._root.subject, key=key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(key_cert_sign=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        pair.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return pair


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(*, subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
    )


def _usage(*, key_cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not key_cert_sign,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
