# SPDX-License-Identifier: Apache-2.0
"""How the enclave answers the CA's validation."""
