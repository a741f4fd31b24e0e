"""The small files of a release that its manifest holds whole."""

from collections.abc import Mapping

from magnetar.manifests.schema import Manifest


def small_files(manifest: Manifest) -> Mapping[str, bytes]:
    return {}
