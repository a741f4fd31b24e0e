from collections.abc import Iterator

import pytest

from magnetar.events import MirrorDropped, Remarked
from magnetar.fetch.http.address_policy import AddressPolicy
from magnetar.fetch.http.client import Client, HttpFailed
from magnetar.fetch.mirror.mirror_source import MirrorSource
from magnetar.fetch.request.mirrors import FileMirror


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client(AddressPolicy())
    yield made
    made.close()


def test_a_source_that_fails_in_passing_waits_ever_longer_and_is_told_once(client: Client) -> None:
    source = MirrorSource(FileMirror("w", "https://a.example/w"), 10, client)
    busy = HttpFailed("answers 503", passing=True)
    told = [source.failed(busy) for _ in range(5)]
    remark = Remarked("mirror https://a.example/w: answers 503; it is asked again")
    assert told == [None, None, remark, None, None]
    assert not source.dropped
    assert not source.usable
    assert source.failed(HttpFailed("answers 404")) == MirrorDropped("a.example", "answers 404", "https://a.example/w")
    assert source.drop("again") is None
