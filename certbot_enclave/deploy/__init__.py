# SPDX-License-Identifier: Apache-2.0
"""How key and chain reach the TLS server inside the enclave."""
