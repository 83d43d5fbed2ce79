"""A certificate authority of our own, for tests of TLS. By openssl(1)."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

DAYS = "2"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files of a server's certificate for one address, and of the authority that signed it."""

    authority: Path
    certificate: Path
    key: Path


def certificate(directory: Path, address: str) -> Certificate:
    """A new one, for an IP address.

    :raises subprocess.CalledProcessError: openssl(1) fails.
    """
    made = Certificate(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    ca_key = directory / "ca.key"
    _make(ca_key, made.authority, "/CN=launcher tests", "basicConstraints=critical,CA:TRUE")
    name, extension = f"/CN={address}", f"subjectAltName=IP:{address}"
    _make(made.key, made.certificate, name, extension, signed_by=(made.authority, ca_key))
    return made


def _make(
    key: Path, target: Path, name: str, extension: str, signed_by: tuple[Path, Path] | None = None
) -> None:
    issuer = ["-CA", str(signed_by[0]), "-CAkey", str(signed_by[1])] if signed_by else []
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
            *("ec_paramgen_curve:prime256v1", "-noenc", "-days", DAYS, "-subj", name),
            *("-addext", extension, "-keyout", str(key), "-out", str(target), *issuer),
        ],
        check=True,
        capture_output=True,
    )
