# SPDX-License-Identifier: Apache-2.0
"""Fuzzing of everything that reads hostile bytes: ``python -m tests.fuzz``.

Inputs come out of a seed alone: the same target, seed and count give the same inputs, whatever the
number of processes.
"""
