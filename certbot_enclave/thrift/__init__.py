# SPDX-License-Identifier: Apache-2.0
"""Thrift at the CA: what was asked is written down first, and never more than the CA allows."""
