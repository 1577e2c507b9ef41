# SPDX-License-Identifier: Apache-2.0
"""Where the untrusted host keeps the sealed bundle."""
