# SPDX-License-Identifier: MIT
"""Certificates for tests, by certtool."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support import run  # noqa: E402


def certtool(folder, *arguments, template=""):
    path = f"{folder}/template"
    with open(path, "w") as f:
        f.write(template)
    run("certtool", *arguments, *(["--template", path] if template else []))


def make_authority(folder, kind="ca\ncert_signing_key\n"):
    os.makedirs(folder)
    certtool(folder, "--generate-privkey", "--ecc", "--outfile", f"{folder}/ca-key.pem")
    certtool(folder, "--generate-self-signed", "--load-privkey", f"{folder}/ca-key.pem",
             "--outfile", f"{folder}/ca-cert.pem",
             template=f"cn = authority\n{kind}{in_force(kind)}")


def in_force(template):
    return "" if "expiration" in template else "expiration_days = 10\n"


def make_certificate(authority, folder, role, names, for_tls=True):
    """For @role, with the lines @names; for TLS and signing unless not @for_tls."""
    os.makedirs(folder, exist_ok=True)
    key, cert = f"{folder}/{role}-key.pem", f"{folder}/{role}-cert.pem"
    certtool(folder, "--generate-privkey", "--ecc", "--outfile", key)
    certtool(folder, "--generate-certificate", "--load-privkey", key, "--outfile", cert,
             "--load-ca-certificate", f"{authority}/ca-cert.pem",
             "--load-ca-privkey", f"{authority}/ca-key.pem",
             template=f"cn = {role}\n{names}" +
             (f"tls_www_{role}\nsigning_key\n" if for_tls else "") + in_force(names))
    run("cp", f"{authority}/ca-cert.pem", folder)
