"""Hostile signatures over folders, checked in a process that may take little time and memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from magnetar.manifests.signing.folder_signature import MAX_FOLDER_SIGNATURE_BYTES, files_to_sign
from magnetar.manifests.signing.sign import CertificateSigning, KeySigning, ManifestSigner
from tests.manifests.signing.keys import write_certificates, write_key
from tests.manifests.signing.own_sigstore import text
from tests.manifests.signing.test_folder_signature import digests

MEGABYTES, SECONDS = 512, 1200

CHECKER = """
import json, resource, sys
from pathlib import Path
import model_signing, OpenSSL, google.protobuf.json_format
from magnetar.errors import MagnetarError
from magnetar.manifests.signing.check import ByCertificate, ByKey
from magnetar.manifests.signing.folder_signature import check_folder_signature, is_over_folder

key, root = Path(sys.argv[3]), Path(sys.argv[4])
mapped = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + (int(sys.argv[1]) << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]),) * 2)
for line in sys.stdin:
    content = Path(line.strip()).read_bytes()
    over, said = is_over_folder(content), []
    for expected in (ByKey(key.read_bytes(), 'key'), ByCertificate((root,))):
        try:
            check_folder_signature(content, expected, 'model.sig')
            said.append('accepted')
        except MagnetarError as error:
            said.append(type(error).__name__)
    print(json.dumps([line.strip(), over, said]), flush=True)
"""


def bundle(good: dict[str, Any], statement: bytes) -> bytes:
    return json.dumps(good | {"dsseEnvelope": good["dsseEnvelope"] | {"payload": text(statement)}}).encode()


def test_no_hostile_signature_is_accepted_or_takes_much_time_or_memory(tmp_path: Path) -> None:
    key = write_key(tmp_path / "key")
    leaf, certificate, root = write_certificates(tmp_path)
    signed = files_to_sign("tiny", digests())
    good = json.loads(ManifestSigner(KeySigning(key)).sign_folder(signed))
    with_certificate = json.loads(ManifestSigner(CertificateSigning(leaf, certificate, (root,))).sign_folder(signed))
    chain = with_certificate["verificationMaterial"]["x509CertificateChain"]["certificates"]

    def with_chain(certificates: Any) -> bytes:
        material = {"x509CertificateChain": {"certificates": certificates}, "tlogEntries": []}
        return json.dumps(with_certificate | {"verificationMaterial": material}).encode()

    size = MAX_FOLDER_SIGNATURE_BYTES
    resource = {"name": "x", "algorithm": "sha256", "digest": "0" * 64}
    hostile = {
        "empty": b"",
        "deep": b"[" * size,
        "deep objects": b'{"dsseEnvelope":' * (size // 17),
        "many empty objects": b"[" + b"{}," * (size // 3 - 1) + b"{}]",
        "many numbers": b'{"dsseEnvelope": [' + b"0," * (size // 2 - 20) + b"0]}",
        "a long number": b"9" * size,
        "a statement of nothing": bundle(good, b""),
        "a deep statement": bundle(good, b"[" * (size // 2)),
        "a statement of empty objects": bundle(good, b"[" + b"{}," * (size // 5) + b"{}]"),
        "other files": bundle(good, json.dumps({"predicate": {"resources": [resource] * 20_000}}).encode()),
        "no chain": with_chain([]),
        "a chain of numbers": with_chain([{"rawBytes": 7}]),
        "a chain of one certificate, a thousand times": with_chain(chain[:1] * 1000),
        "a chain with a certificate that is none": with_chain([*chain, {"rawBytes": "AAAA"}]),
        "a certificate of a megabyte": with_chain([{"rawBytes": text(b"\x30\x83\x10\x00\x00" + bytes(1 << 20))}]),
        "the root in the place of the leaf": with_chain(chain[::-1]),
    }  # fmt: skip
    paths = {}
    for number, (name, content) in enumerate((hostile | {"good": json.dumps(good).encode()}).items()):
        paths[name] = tmp_path / f"{number}.sig"
        paths[name].write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", CHECKER, str(MEGABYTES), str(SECONDS), key.with_name("key.pub"), root],
        input="".join(f"{path}\n" for path in paths.values()),
        capture_output=True,
        text=True,
        check=False,
    )
    found = {Path(path): (over, said) for path, over, said in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0, f"{done.stderr[-1000:]} after {len(found)}"
    assert found.pop(paths.pop("good")) == (True, ["accepted", "WrongBytesError"])
    for name, path in paths.items():
        _over, said = found[path]
        assert "accepted" not in said, name
        assert set(said) <= {"WrongBytesError", "ManifestError"}, name


def test_the_certificate_case_of_the_corpus_is_accepted_untouched(tmp_path: Path) -> None:
    """So that the others are refused for what was done to them."""
    from magnetar.manifests.signing.check import ByCertificate
    from magnetar.manifests.signing.folder_signature import check_folder_signature

    leaf, certificate, root = write_certificates(tmp_path)
    signature = ManifestSigner(CertificateSigning(leaf, certificate, (root,))).sign_folder(
        files_to_sign("tiny", digests())
    )
    assert check_folder_signature(signature, ByCertificate((root,)), "it")[1].kind == "certificate"
