# SPDX-License-Identifier: Apache-2.0
r"""Certificates that only an attested enclave can get.

The ``enclave`` plugin makes the ACME account key inside the enclave, signs an order only while CAA
records (RFC 8659) with ``accounturi`` and ``validationmethods`` (RFC 8657) allow this account and
nobody else, answers the ``http-01`` challenge itself, and hands key and chain to the TLS server
beside it. Evidence, which the hardware signs, binds account, key, domains and settings to the
measurements of the code.

.. note::
   The plugin is an authenticator and an installer, and has to run inside an enclave. A simulated
   one, for tests and demonstrations, is made by ``certbot-enclave simulate`` and used only when it
   is named. There are attesters for AWS Nitro Enclaves and Marlin Oyster; a sealer for them is not
   part of this version yet, and without one no real enclave keeps an account.

Named Arguments
---------------

.. options: begin

=====================================  ==========================================================
``--enclave-attester``                 who makes attestation documents: auto, nsm, oyster:URL, or
                                       simulated:DIR (default: auto)
``--enclave-sealer``                   who wraps the keys of sealed state: awskms:KEY-ARN,
                                       oysterkms:[HOST:PORT], or simulated:DIR
``--enclave-aws-endpoint``             URL of the AWS key service instead of the one of the key's
                                       ARN
``--enclave-store``                    where the host keeps the sealed bundle: file:PATH, s3://…,
                                       or none:
``--enclave-account-key``              where the account key comes from: random, or derived from
                                       the sealer's secret (default: random)
``--enclave-staging-rehearsal``        ACME directory URL of the CA's staging, where each image
                                       tries every order first
``--enclave-bind-pcr``                 PCR to extend with the account and lock: 16 to 31
``--enclave-challenge``                validation method (default: http-01)
``--enclave-caa-issuer``               issuer domain name, if the directory names no CAA identity
``--enclave-resolver``                 validating resolvers that must agree: tls://IP#NAME,
                                       https://IP/PATH#NAME, or a loopback IP:PORT (default:
                                       tls://9.9.9.9#dns.quad9.net,
                                       tls://1.1.1.1#one.one.one.one)
``--enclave-resolver-roots``           PEM file of roots for resolvers over TLS instead of the
                                       system's
``--enclave-ca-roots``                 PEM file of roots for the ACME server instead of the
                                       built-in ones
``--enclave-allow-unsigned-zone``      accept pinned CAA in a zone without DNSSEC
``--enclave-allow-covering-wildcard``  accept that *.parent is open to others
``--enclave-allow-alias-zone``         zones that a CNAME or DNAME on the path may lead into
``--enclave-allow-issuer``             issuers accepted though they are not known here to enforce
                                       RFC 8657
``--enclave-allow-disk``               accept directories that are not RAM-backed
``--enclave-deploy``                   where key and chain go for the TLS server: files:DIR
``--enclave-deploy-check``             command that must succeed before a new certificate is used
``--enclave-deploy-reload``            command that makes the TLS server use the new certificate
``--enclave-hooks``                    exact commands that certbot's hooks may run
``--enclave-evidence``                 where evidence is written
                                       (CONFIG_DIR/enclave/evidence.json)
``--enclave-budget``                   what may be asked of the CA: one less than Let's Encrypt
                                       allows, or none for no limit
``--enclave-wait-for-caa``             how long to wait for CAA records, e.g. 30m
``--enclave-settings``                 another settings file; simulated enclaves only
=====================================  ==========================================================

.. options: end

``--server``, ``--domain`` and ``--account`` are certbot's own. Lists are comma-separated.

Settings
--------

Arguments and environment of an enclave are not measured, so everything that decides about security
has one home: the file ``/etc/certbot-enclave/settings.toml``, which is part of the image. It has
the names above, without ``--enclave-`` and with ``_`` for ``-``, and ``server``, ``domains`` and
``account``.

.. code-block:: toml
   :caption: Example settings file:

   sealer = "simulated:/run/enclave"
   store = "file:/mnt/host/certbot-enclave.bundle"
   server = "https://acme-v02.api.letsencrypt.org/directory"
   domains = ["example.com"]
   deploy = "files:/run/tls"
   deploy_check = "nginx -t"
   deploy_reload = "nginx -s reload"

In a real enclave an argument that contradicts or adds to this file is an error. In a simulated one
arguments win.

.. caution::
   What reaches the enclave's account key or certificate keys from outside undoes the promise. So
   the plugin refuses ``cli.ini``, ``--csr``, ``--no-verify-ssl``, ``--eab-hmac-key``, foreign keys
   given to ``certbot install``, and environment variables that change which code runs or whom it
   trusts. It refuses hooks, unless the settings name the very command. certbot's directories and
   the directory of ``--enclave-deploy`` must be in RAM. A setting that begins with ``allow_``
   weakens the claim, and verifiers see it.

CAA records
-----------

``certbot-enclave register`` makes the account and prints the two records that the domain owner
publishes, in a zone that is signed with DNSSEC:

.. code-block:: text

   example.com. 3600 IN CAA 0 issue "letsencrypt.org;validationmethods=http-01;accounturi=URI"
   example.com. 3600 IN CAA 0 issuewild ";"

Until they are there, no certificate is ordered, and certbot ends with an error that names what is
missing. Evidence older than 24 hours is refused by default; run ``certbot-enclave attest`` daily.

Examples
--------

.. code-block:: bash
   :caption: To make the account and the first evidence

   certbot-enclave register --agree-tos --email operator@example.com

.. code-block:: bash
   :caption: To acquire a certificate for ``example.com``, and hand it to the TLS server

   certbot certonly \
     --authenticator enclave \
     --installer enclave \
     -d example.com

.. code-block:: bash
   :caption: To wait up to 30 minutes for the CAA records to appear

   certbot certonly \
     --authenticator enclave \
     --installer enclave \
     --enclave-wait-for-caa 30m \
     -d example.com \
     -d www.example.com

.. code-block:: bash
   :caption: To try it in a simulated enclave

   certbot-enclave simulate /dev/shm/enclave --image app.bin
   certbot certonly \
     --authenticator enclave \
     --installer enclave \
     --enclave-attester simulated:/dev/shm/enclave \
     --enclave-sealer simulated:/dev/shm/enclave \
     --enclave-store file:/var/lib/host/bundle \
     --enclave-deploy files:/dev/shm/tls \
     --agree-tos \
     -d example.com
"""  # noqa: D416  # the headings of certbot's plugins
