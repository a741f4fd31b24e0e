import pytest

from magnetar.convert.layout.architecture import Architecture
from magnetar.errors import UsageError
from magnetar.fetch.link.magnet import parse_magnet
from magnetar.manifests.catalog import CATALOG_FOLDER, catalog, find_by_infohash, find_release
from magnetar.manifests.schema import Manifest

MIXTRAL_8X7B = Architecture(4096, 32, 128, 14336, 32, 8, 1e-5, 32000, 1e6, 8, 2)
MIXTRAL_8X22B = Architecture(6144, 56, 128, 16384, 48, 8, 1e-5, 32000, 1e6, 8, 2)
MISTRAL_7B = Architecture(4096, 32, 128, 14336, 32, 8, 1e-5, 32000, 1e4)


@pytest.mark.parametrize("manifest", catalog().values(), ids=lambda manifest: manifest.name)
def test_each_magnet_needs_no_healing_and_names_the_infohash_and_the_folder(manifest: Manifest) -> None:
    assert manifest.magnet is not None
    magnet = parse_magnet(manifest.magnet)
    assert magnet.healed == ()
    assert magnet.infohash_v1 == (manifest.infohash_v1 or "")
    assert magnet.infohash_v2 == (manifest.infohash_v2 or "")
    assert magnet.name in ("", manifest.folder)


def test_each_release_is_found_by_its_file_name_its_name_and_its_infohash() -> None:
    assert {path.stem for path in CATALOG_FOLDER.glob("*.toml")} == set(catalog())
    for manifest in catalog().values():
        assert find_release(manifest.name.upper()) is manifest
        assert find_by_infohash(manifest.infohash_v1 or "", "") is manifest


def test_an_unknown_infohash_finds_nothing_and_an_absent_one_matches_none() -> None:
    assert find_by_infohash("0" * 40, "") is None
    assert find_by_infohash("", "") is None


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        find_release("mixtral-8x7b")
    assert "mixtral-8x7b-v0.1" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("mistral-7b-v0.1", MISTRAL_7B),
        ("mixtral-8x7b-v0.1", MIXTRAL_8X7B),
        ("mixtral-8x22b-v0.1", MIXTRAL_8X22B),
    ],
)
def test_the_counts_of_parameters_are_those_of_the_shapes(name: str, architecture: Architecture) -> None:
    facts = find_release(name).architecture
    assert facts.total_parameters == architecture.total_parameters
    assert facts.active_parameters == architecture.active_parameters


def test_mixtral_has_46_7_billion_parameters_of_which_12_9_are_active() -> None:
    facts = find_release("mixtral-8x7b-v0.1").architecture
    assert round((facts.total_parameters or 0) / 1e9, 1) == 46.7
    assert round((facts.active_parameters or 0) / 1e9, 1) == 12.9


def test_what_is_not_known_of_a_real_release_is_said() -> None:
    assert all(manifest.unknown for manifest in catalog().values() if manifest.publisher in ("Mistral AI", "xAI"))
