import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.errors import MagnetError
from magnetar.fetch.link.magnet import (
    MAX_LINK_LENGTH,
    MAX_TRACKERS,
    Magnet,
    join_trackers,
    looks_like_magnet,
    parse_magnet,
    parse_peer,
)

V1 = "5546272da9065eddeb6fcd7ffddeef5b75be79a7"
V2 = "6e4b6214d331ae37338c4584f6f4d99a892d8af57f288be068a80a60e89cd4e0"
LINK = f"magnet:?xt=urn:btih:{V1}"

CLEAN = {
    "Mistral 7B v0.1": "magnet:?xt=urn:btih:208b101a0f51514ecf285885a8b0f6fb1a1e4d7d&dn=mistral-7B-v0.1"
    "&tr=udp%3A%2F%2Ftracker.opentrackr.org%3A1337%2Fannounce",
    "Mixtral 8x7B": f"{LINK}&dn=mixtral-8x7b-32kseqlen&tr=udp%3A%2F%2Fopentracker.i2p.rocks%3A6969%2Fannounce"
    "&tr=http%3A%2F%2Ftracker.openbittorrent.com%3A80%2Fannounce",
    "Mixtral 8x22B": "magnet:?xt=urn:btih:9238b09245d0d8cd915be09927769d5f7584c1c9&dn=mixtral-8x22b"
    "&tr=udp%3A%2F%2Fopen.demonii.com%3A1337%2Fannounce&tr=http%3A%2F%2Ftracker.opentrackr.org%3A1337%2Fannounce",
    "Grok-1": "magnet:?xt=urn:btih:5f96d43576e3d386c9ba65b883210a393b68210e"
    "&tr=https%3A%2F%2Facademictorrents.com%2Fannounce.php&tr=udp%3A%2F%2Ftracker.coppersurfer.tk%3A6969"
    "&tr=udp%3A%2F%2Ftracker.opentrackr.org%3A1337%2Fannounce",
    "GPT4All-LoRA": "magnet:?xt=urn:btih:b8289dbfa08ddd0951241bb7011041d929802db5"
    f"&xt=urn:btmh:1220{V2}&dn=gpt4all-lora-quantized.bin",
}

MANGLED_TRACKERS = {
    "a linked host": (
        "udp%3A%2F%http://2Fopentracker.i2p.rocks%3A6969%2Fannounce",
        "udp://opentracker.i2p.rocks:6969/announce",
    ),
    "a linked host over https": (
        "udp%3A%2F%https://2Fopentracker.i2p.rocks%3A6969%2Fannounce",
        "udp://opentracker.i2p.rocks:6969/announce",
    ),
    "a linked host, lower case, with a stray slash": (
        "udp%3A%2F%http://2ftracker.opentrackr.org/%3A1337%2Fannounce",
        "udp://tracker.opentrackr.org:1337/announce",
    ),
    "a shortened host that is known": (
        "udp%3A%2F%https://t.co/2UepcMHjvL%3A1337%2Fannounce",
        "udp://open.demonii.com:1337/announce",
    ),
    "a shortened host that is not known": ("udp%3A%2F%https://t.co/HAadNvH1t0%3A1337%2Fannounce", None),
    "a linked host, written again by a client": (
        "udp%3a%2f-tp%3a%2f%2f2Ftracker.opentrackr.org%3a1337%2fannounce",
        "udp://tracker.opentrackr.org:1337/announce",
    ),
    "a shortened host, written again by a client": (
        "https%3a%2f-tps%3a%2f%2ft.co%2fHAadNvH1t0%3a443%2fannounce",
        None,
    ),
    "a truncated tail": ("udp%3A%2F%2Ftracker.opentrackr.org%3A1337%2Fannoun...", "udp://tracker.opentrackr.org:1337/announce"),
    "a tail truncated without a mark": ("http%3A%2F%2Fopen.tracker.cl%3A1337%2Fannou", "http://open.tracker.cl:1337/announce"),
    "a truncated host": ("udp%3A%2F%2Ftracker.opentra...", None),
    "a tracker encoded twice": ("udp%253A%252F%252Fopen.demonii.com%253A1337%252Fannounce", "udp://open.demonii.com:1337/announce"),
    "a file": ("file%3A%2F%2F%2Fetc%2Fpasswd", None),
    "a port out of range": ("udp%3A%2F%2Fopen.demonii.com%3A99999", None),
    "escape codes": ("udp%3A%2F%2Fopen.demonii.com%1B%5B31m%3A80", None),
}  # fmt: skip


@pytest.mark.parametrize("link", CLEAN.values(), ids=CLEAN)
def test_a_clean_link_is_read_and_written_unchanged(link: str) -> None:
    magnet = parse_magnet(link)
    assert str(magnet) == link
    assert magnet.healed == ()


@pytest.mark.parametrize(("mangled", "whole"), MANGLED_TRACKERS.values(), ids=MANGLED_TRACKERS)
def test_a_mangled_tracker_is_mended_or_dropped_and_the_healing_says_so(mangled: str, whole: str | None) -> None:
    magnet = parse_magnet(f"{LINK}&tr={mangled}&dn=x")
    assert magnet.trackers == ((whole,) if whole else ())
    assert len(magnet.healed) == 1
    assert ("mended" if whole else "dropped") in magnet.healed[0]
    assert (magnet.infohash_v1, magnet.name) == (V1, "x")


@pytest.mark.parametrize(
    ("text", "healed"),
    {
        "an upper-case scheme": (f"MAGNET:?XT=URN:BTIH:{V1.upper()}", 0),
        "white space around": (f" \n\t{LINK}\r\n", 0),
        "invisible characters": (f"\ufeff{LINK}\u200b", 0),
        "quotes": (f'"{LINK}"', 0),
        "angle brackets": (f"<{LINK}>", 0),
        "a line broken in two": (f"magnet:?xt=urn:btih:{V1[:20]}\n    {V1[20:]}", 0),
        "a missing prefix": (f"xt=urn:btih:{V1}", 1),
        "a bare topic": (f"urn:btih:{V1}", 1),
        "slashes in the prefix": (f"magnet://?xt=urn:btih:{V1}", 1),
        "no question mark": (f"magnet:xt=urn:btih:{V1}", 1),
        "wholly percent-encoded": (f"magnet%3A%3Fxt%3Durn%3Abtih%3A{V1}", 1),
        "an encoded topic": (f"magnet:?xt=urn%3Abtih%3A{V1}", 0),
        "numbered topics": (f"magnet:?xt.1=urn:btih:{V1}&xt.2=urn:sha1:ABC", 0),
        "a bare infohash": (V1.upper(), 0),
        "the same hash twice": (f"{LINK}&xt=urn:btih:{V1.upper()}", 0),
        "a selection that cannot be": (f"{LINK}&so=9999999999", 1),
        "parameters nobody knows": (f"{LINK}&kt=x&xl=12&foo&=&&", 0),
    }.values(),
)
def test_a_link_that_was_copied_badly_still_names_its_torrent(text: str, healed: int) -> None:
    magnet = parse_magnet(text)
    assert magnet == Magnet(V1)
    assert len(magnet.healed) == healed


def test_html_escapes_hide_neither_name_nor_trackers() -> None:
    for ampersand in ("&amp;", "&#38;", "&amp;amp;", "&AMP;"):
        magnet = parse_magnet(f"{LINK}{ampersand}dn=x{ampersand}tr=http%3A%2F%2Fa.example%2Fannounce")
        assert (magnet.name, magnet.trackers) == ("x", ("http://a.example/announce",))
        assert magnet.healed == ("the link was HTML-escaped",)


@pytest.mark.parametrize(
    ("base32", "hexadecimal"),
    [
        ("INEYUMLLBBMZF22IIP4AEXLUK6XQKCSD", "43498a316b085992eb4843f8025d7457af050a43"),
        ("awjjjznfook7r2xxxgz4gfnkueu2tsfp", "059294e5a57395f8eaf7b9b3c315aaa129a9c8af"),
    ],
)
def test_a_base32_infohash_is_the_same_torrent(base32: str, hexadecimal: str) -> None:
    assert parse_magnet(f"magnet:?xt=urn:btih:{base32}&xl=7703810927") == Magnet(hexadecimal)
    assert parse_magnet(base32) == Magnet(hexadecimal)


def test_a_version_2_infohash_is_read_from_a_link_and_bare() -> None:
    for text in (f"magnet:?xt=urn:btmh:1220{V2.upper()}", f"1220{V2}", V2):
        assert parse_magnet(text) == Magnet("", V2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no infohash"),
        ("hello", "no infohash"),
        ("https://example.org/?xt=urn:btih:short", "not an infohash"),
        ("magnet:?dn=x", "no infohash"),
        ("magnet:?xt=urn:ed2k:31D6CFE0D16AE931B73C59D7E0C089C0", "no infohash"),
        (f"magnet:?xt=urn:btih:{V1[:-1]}", "not an infohash"),
        (f"magnet:?xt=urn:btih:{V1}0", "not an infohash"),
        (f"magnet:?xt=urn:btih:{V1[:-1]}g", "not an infohash"),
        (f"magnet:?xt=urn:btmh:1114{V2}", "not a version 2 infohash"),
        (f"{LINK}&xt=urn:btih:{'0' * 40}", "two torrents"),
        (f"{LINK}&xt=urn:btih:broken", "not an infohash"),
        (f"{LINK}&dn={'x' * MAX_LINK_LENGTH}", "characters long"),
    ],
)
def test_a_link_that_names_no_one_torrent_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(MagnetError, match=reason) as caught:
        parse_magnet(text)
    assert caught.value.hint


def test_a_name_that_is_not_text_is_shown_as_far_as_it_is() -> None:
    magnet = parse_magnet(f"{LINK}&dn=a%FFb%1B%5B31m%00c")
    assert magnet.name == "a\N{REPLACEMENT CHARACTER}b[31mc"
    assert "not plain text" in magnet.healed[0]


def test_peers_that_are_no_literal_addresses_are_dropped_with_a_note() -> None:
    peers = [
        "127.0.0.1:6881",
        "%5B2001%3Adb8%3A%3A1%5D%3A51413",
        "example.org:1",
        "1.2.3.4:0",
        "1.2.3.4:99999",
        "::1:2",
    ]
    magnet = parse_magnet(LINK + "".join(f"&x.pe={peer}" for peer in peers))
    assert magnet.peers == (("127.0.0.1", 6881), ("2001:db8::1", 51413))
    assert len(magnet.healed) == 4


def test_web_seeds_outside_the_web_are_dropped_with_a_note() -> None:
    magnet = parse_magnet(f"{LINK}&ws=file%3A%2F%2F%2Fetc%2Fpasswd&ws=https%3A%2F%2Fa.example%2Fd%2F&ws=ftp%3A%2F%2Fa")
    assert magnet.web_seeds == ("https://a.example/d/",)
    assert len(magnet.healed) == 2


def test_trackers_are_kept_once_and_not_without_end() -> None:
    many = "".join(f"&tr=udp%3A%2F%2Ft{number // 2}.example%3A80" for number in range(4 * MAX_TRACKERS))
    magnet = parse_magnet(LINK + many)
    assert len(magnet.trackers) == MAX_TRACKERS
    assert str(2 * MAX_TRACKERS) in magnet.healed[0]
    assert join_trackers(magnet, magnet.trackers) == magnet


@pytest.mark.parametrize(
    "text", ["", "1.2.3.4", "1.2.3.4:", "1.2.3.4:+1", "1.2.3.4:1_0", "[1.2.3.4]:1", "host:80", "[::1]"]
)
def test_what_is_no_peer_is_refused(text: str) -> None:
    with pytest.raises(MagnetError):
        parse_peer(text)


def test_a_short_path_of_a_living_tracker_is_left_alone() -> None:
    for url in ("http://bt.example/ann", "http://bt.example/a", "udp://bt.example:80", "udp://bt.example:80/"):
        magnet = parse_magnet(f"{LINK}&tr={url}")
        assert (magnet.trackers, magnet.healed) == ((url,), ())


def test_links_are_told_from_names_and_paths() -> None:
    assert all(looks_like_magnet(text) for text in (V1, V2, f" {LINK}", f"xt=urn:btih:{V1}", f"1220{V2}", "Magnet:?x"))
    assert not any(looks_like_magnet(text) for text in ("mixtral-8x7b", "./a.torrent", "a" * 39, ""))


trackers = st.from_regex(
    r"(udp|http|https|ws|wss)://[a-z0-9]{1,9}\.example:[1-9][0-9]{0,3}(/[a-z?=+&%]{0,9})?", fullmatch=True
)
names = st.text(st.characters(exclude_categories=("C", "Z")), max_size=40)
ports = st.integers(1, 65535)


@given(
    st.builds(
        Magnet,
        st.from_regex(r"[0-9a-f]{40}", fullmatch=True),
        st.just("") | st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
        names,
        st.lists(trackers, unique=True, max_size=5).map(tuple),
        st.lists(st.just("https://mirror.example/a b?c&d").map(lambda url: url.replace(" ", "%20")), max_size=1).map(
            tuple
        ),
        st.lists(st.tuples(st.ip_addresses().map(str), ports), unique=True, max_size=4).map(tuple),
    )
)
def test_every_link_survives_being_written_and_read(magnet: Magnet) -> None:
    read = parse_magnet(str(magnet))
    assert read == magnet
    assert read.healed == ()


@given(st.text(max_size=300) | st.text("magnet:?xt=urn:btih:&trdnspe.%/0123456789abcdefg \n", max_size=300))
def test_no_text_makes_the_reader_fail_in_an_unforeseen_way(text: str) -> None:
    for variant in (text, f"{LINK}&{text}", f"{LINK}&tr={text}", f"{LINK}&x.pe={text}", f"{LINK}&ws={text}"):
        try:
            magnet = parse_magnet(variant)
        except MagnetError:
            continue
        assert parse_magnet(str(magnet)) == magnet
