# SPDX-License-Identifier: Apache-2.0
"""Amazon's key service, by its own protocol (docs/adr/0003-aws.md)."""
