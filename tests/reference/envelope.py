"""Verifies signatures of `repro` with another implementation: Python's `cryptography`.

    pip install cryptography
    python tests/reference/envelope.py ENVELOPE ed25519:PUBLIC_KEY

Envelopes lie in a store under envelopes/, and in a crate under provenance/ (*.dsse.json). Says what was signed.
"""

import base64
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

with open(sys.argv[1], "rb") as file:
    envelope = json.load(file)
key = Ed25519PublicKey.from_public_bytes(base64.b64decode(sys.argv[2].removeprefix("ed25519:"), validate=True))
payload = base64.b64decode(envelope["payload"], validate=True)
kind = envelope["payloadType"].encode()
signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
for signature in envelope["signatures"]:
    try:
        key.verify(base64.b64decode(signature["sig"], validate=True), signed)
    except InvalidSignature:
        continue
    statement = json.loads(payload)
    print(statement["predicateType"], *(f"{s['name']} {s['digest']}" for s in statement["subject"]))
    sys.exit(0)
sys.exit("no signature in it is of this key")
