# SPDX-License-Identifier: Apache-2.0
"""Measurements against peers, as ratios in one run (``make bench``)."""
