# SPDX-License-Identifier: Apache-2.0
"""Certificates that only an attested enclave can get: a certbot plugin."""
