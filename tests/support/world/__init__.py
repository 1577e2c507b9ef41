# SPDX-License-Identifier: Apache-2.0
"""Real servers for tests and the demonstration, on loopback, stopped whatever happens.

Each is a context manager that takes a directory for its state, best on tmpfs. A server program that
is not installed is an error that names the command which installs it.
"""
