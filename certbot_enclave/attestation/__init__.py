# SPDX-License-Identifier: Apache-2.0
"""Who is speaking: attestation documents, their chains, their measurements."""
