# SPDX-License-Identifier: Apache-2.0
"""An RSA key, made once."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa


@pytest.fixture(scope="session")
def recipient():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
