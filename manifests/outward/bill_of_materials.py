"""A release as a bill of materials (ML-BOM) in CycloneDX 1.6: a model, with its files as components.

The same manifest gives the same bytes: there is no time in the document, and its serial number follows from the rest.
"""

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from magnetar.errors import UsageError
from magnetar.manifests.schema import Manifest, ReleaseFile
from magnetar.version import __version__

if TYPE_CHECKING:
    from cyclonedx.model import ExternalReference, HashType, Property
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

HASHES = {"md5": "MD5", "sha1": "SHA-1", "sha256": "SHA-256", "blake3": "BLAKE3"}
"""Our names of algorithms, and CycloneDX's. It has none for ``bep52``, which is written as a property."""

IN_URIS = ":/?@!$&'()*+,;=%~"
"""What stands in a URI as it is (RFC 3986). The rest is written with percent signs."""

PROPERTIES = "magnetar:"
"""Before the name of each property."""


def to_cyclonedx(manifest: Manifest) -> str:
    """The bill of materials, as JSON. What the manifest does not say is left out, and never guessed.

    Raises ``UsageError`` if the extra ``bom`` is not installed.
    """
    if find_spec("cyclonedx") is None:
        raise UsageError(
            "cyclonedx-python-lib is not installed, and this format needs it", hint="install magnetar[bom]"
        )
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    tool = Component(name="magnetar", version=__version__, type=ComponentType.APPLICATION, bom_ref="magnetar")
    metadata = BomMetaData(component=_model(manifest), tools=ToolRepository(components=[tool]))
    document: dict[str, Any] = json.loads(JsonV1Dot6(Bom(metadata=metadata)).output_as_string())
    del document["metadata"]["timestamp"], document["serialNumber"]
    # The library knows neither model cards nor compositions.
    card = _model_card(manifest)
    if card:
        document["metadata"]["component"]["modelCard"] = card
    whole = "unknown" if manifest.files is None else "complete"
    document["compositions"] = [{"aggregate": whole, "assemblies": [_reference(manifest)]}]
    text = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid5(NAMESPACE_URL, text)}"
    first = ("$schema", "bomFormat", "specVersion", "serialNumber", "version")
    return json.dumps({key: document[key] for key in first} | document, indent=2)


def _model(manifest: Manifest) -> "Component":
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    return Component(
        name=manifest.name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=_reference(manifest),
        purl=PackageURL("generic", name=manifest.name),
        publisher=None if manifest.publisher == "unknown" else manifest.publisher,
        description=manifest.summary or manifest.title,
        licenses=list(_licences(manifest.licence)),
        components=[_file(file) for file in manifest.files or ()],
        external_references=list(_references(manifest)),
        properties=list(_properties(manifest)),
    )


def _reference(manifest: Manifest) -> str:
    return f"pkg:generic/{manifest.name}"


def _licences(licence: str) -> "Iterator[License]":
    """The licence as the publisher states it: an SPDX identifier or expression, or else a name."""
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.license import LicenseAcknowledgement

    if licence != "unknown":
        yield LicenseFactory().make_from_string(licence, license_acknowledgement=LicenseAcknowledgement.DECLARED)


def _file(file: ReleaseFile) -> "Component":
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    properties = [Property(name=f"{PROPERTIES}size", value=str(file.size))] if file.size is not None else []
    properties += [
        Property(name=f"{PROPERTIES}{digest.algorithm}", value=digest.hex)
        for digest in file.digests
        if digest.algorithm not in HASHES
    ]
    return Component(
        name=file.path,
        type=ComponentType.FILE,
        bom_ref=f"file:{quote(file.path)}",
        hashes=list(_hashes(file)),
        properties=properties,
    )


def _hashes(file: ReleaseFile) -> "Iterator[HashType]":
    from cyclonedx.model import HashAlgorithm, HashType

    for digest in file.digests:
        if digest.algorithm in HASHES:
            yield HashType(alg=HashAlgorithm(HASHES[digest.algorithm]), content=digest.hex)


def _references(manifest: Manifest) -> "Iterator[ExternalReference]":
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri

    for url in (manifest.magnet, *(mirror.url for mirror in manifest.mirrors)):
        if url:
            yield ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(_as_uri(url)))


def _as_uri(url: str) -> str:
    """A link as RFC 3986 writes it: what must not stand in it, with percent signs and capital hex."""
    before, mark, fragment = url.partition("#")
    quoted = quote(before, safe=IN_URIS) + mark + quote(fragment, safe=IN_URIS)
    return re.sub(r"%(?:([0-9A-Fa-f]{2})|)", lambda found: f"%{(found[1] or '25').upper()}", quoted)


def _properties(manifest: Manifest) -> "Iterator[Property]":
    from cyclonedx.model import Property

    facts = {
        "title": manifest.title,
        "published": manifest.published,
        "layout": manifest.layout,
        "folder": manifest.folder,
        "infohash-v1": manifest.infohash_v1,
        "infohash-v2": manifest.infohash_v2,
        "info": manifest.info,
        "tensors": manifest.tensors and manifest.tensors.digest,
    }
    for name, value in facts.items():
        if value is not None:
            yield Property(name=f"{PROPERTIES}{name}", value=str(value))
    for name, lines in (("source", manifest.sources), ("unknown", manifest.unknown)):
        for line in lines:
            yield Property(name=f"{PROPERTIES}{name}", value=line)


def _model_card(manifest: Manifest) -> dict[str, Any]:
    """The model's size, and what the smoke test must find; empty if nothing is known."""
    facts = manifest.architecture.model_dump(exclude_none=True)
    card: dict[str, Any] = {}
    if facts:
        card["properties"] = [
            {"name": f"{PROPERTIES}{name.replace('_', '-')}", "value": str(value)} for name, value in facts.items()
        ]
    if manifest.smoke is not None and manifest.smoke.bits_per_byte is not None:
        metric = {
            "type": "bits per byte",
            "value": str(manifest.smoke.bits_per_byte),
            "slice": f"the text with the digest {manifest.smoke.text}",
        }
        card["quantitativeAnalysis"] = {"performanceMetrics": [metric]}
    return card
