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


def make_authority(folder):
    os.makedirs(folder)
    certtool(folder, "--generate-privkey", "--ecc", "--outfile", f"{folder}/ca-key.pem")
    certtool(folder, "--generate-self-signed", "--load-privkey", f"{folder}/ca-key.pem",
             "--outfile", f"{folder}/ca-cert.pem",
             template="cn = authority\nca\ncert_signing_key\nexpiration_days = 10\n")


def make_certificate(authority, folder, role, names):
    os.makedirs(folder, exist_ok=True)
    key, cert = f"{folder}/{role}-key.pem", f"{folder}/{role}-cert.pem"
    certtool(folder, "--generate-privkey", "--ecc", "--outfile", key)
    certtool(folder, "--generate-certificate", "--load-privkey", key, "--outfile", cert,
             "--load-ca-certificate", f"{authority}/ca-cert.pem",
             "--load-ca-privkey", f"{authority}/ca-key.pem",
             template=f"cn = {role}\n{names}tls_www_{role}\nsigning_key\nexpiration_days = 10\n")
    run("cp", f"{authority}/ca-cert.pem", folder)
