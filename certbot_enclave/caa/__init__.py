# SPDX-License-Identifier: Apache-2.0
"""Who may issue: CAA records (RFC 8659) with RFC 8657 parameters, looked up, judged, printed."""
