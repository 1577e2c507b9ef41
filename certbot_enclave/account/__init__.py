# SPDX-License-Identifier: Apache-2.0
"""Who is bound: the guarded ACME account key, its signing rules, its registration."""
