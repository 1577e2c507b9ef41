# SPDX-License-Identifier: Apache-2.0
"""Packaging of certbot-enclave: metadata, dependencies, entry points."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# Where atheris has wheels; tests/fuzz/guided.py knows it too.
WHEEL = "sys_platform == 'linux' and platform_machine == 'x86_64'"

setup(
    name="certbot-enclave",
    version="0.1.0.dev0",
    description="Certificates that only an attested enclave can get: a certbot plugin",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["certbot_enclave", "certbot_enclave.*"]),
    package_data={"certbot_enclave": ["py.typed"]},
    install_requires=[
        "acme>=5.3",
        "certbot>=5.3",
        "cryptography>=45.0.7",
        "dnspython>=2.9",
        "idna>=3.7",
        "josepy>=2.0",
        "zope.interface>=6.0",
    ],
    extras_require={
        "aws": ["requests-aws4auth>=1.4"],
        "doh": ["h2>=4.4"],
        "metrics": ["prometheus-client>=0.26"],
        "dev": [
            f"atheris==3.0.0; python_version == '3.11' and {WHEEL}",
            f"atheris==3.1.0; python_version >= '3.12' and python_version < '3.15' and {WHEEL}",
            "cbor2==6.3.0",
            "h2>=4.4",
            "hypothesis==6.170.15",
            "mfusepy==3.1.1",
            "mypy==2.4.1",
            "mypy-zope==1.0.17",
            "octodns==1.22.0",
            "prometheus-client==0.26.0",
            "PyYAML==6.0.4",
            "pytest==9.2.0",
            "pytest-xdist==3.8.0",
            "python-hcl2==8.1.4",
            "requests-aws4auth==1.4.0",
            "ruff==0.17.6",
            "setuptools==84.2.1",
            "time-machine==3.6.0",
            "trustme==1.2.1",
            "types-setuptools",
        ],
    },
    entry_points={
        "console_scripts": ["certbot-enclave = certbot_enclave.cli:main"],
        "certbot.plugins": ["enclave = certbot_enclave.plugin:Configurator"],
        "certbot_enclave.attesters": [
            "nsm = certbot_enclave.attestation.nsm:NsmAttester",
            "oyster = certbot_enclave.attestation.oyster:OysterAttester",
            "simulated = certbot_enclave.attestation.simulated:SimulatedAttester",
        ],
        "certbot_enclave.sealers": [
            "awskms = certbot_enclave.sealing.awskms:KmsSealer",
            "oysterkms = certbot_enclave.sealing.oyster:OysterSealer",
            "simulated = certbot_enclave.sealing.simulated:SimulatedSealer",
        ],
        "certbot_enclave.stores": [
            "file = certbot_enclave.sealing.stores.file:FileStore",
            "none = certbot_enclave.sealing.stores.none:NoStore",
            "s3 = certbot_enclave.sealing.stores.s3:S3Store",
        ],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Plugins",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Topic :: Security",
    ],
)
