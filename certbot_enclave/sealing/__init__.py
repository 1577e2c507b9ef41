# SPDX-License-Identifier: Apache-2.0
"""How state survives: envelopes, bundles, sealers that wrap their keys, stores that keep them."""
