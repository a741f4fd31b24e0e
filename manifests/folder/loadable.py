"""Which files a runtime could load or run, by their names. What is not known to be harmless counts as loadable."""

import re

NEVER_LOADED = (
    # Texts for people. The name must be whole: README.safetensors is none.
    r"(readme|license|licence|notice|copying|copyright|authors|changelog|citation|contributing|security|model_card"
    r"|use_policy|acceptable_use_policy|third_party_notices|conversion)([-_][a-z0-9-]+)?(\.(md|markdown|rst|txt|cff|pdf))?",
    r"[^/\n]+\.(md|markdown|rst|pdf|cff)",
    # Pictures.
    r"[^/\n]+\.(png|jpe?g|gif|svg|webp|ico|bmp|tiff?)",
    # What version control, desktops and download tools leave behind.
    r"\.gitattributes|\.gitignore|\.gitkeep|\.ds_store|thumbs\.db|desktop\.ini",
    r"\.cache/huggingface/(.+\.(metadata|lock)|\.gitignore|cachedir\.tag)",
    # Lists of digests, signatures, torrents, and manifests: they say something of files, and are loaded by none.
    r"[^/\n]*(md5|sha1|sha256|sha512|b3|blake3)(sums?)?(\.txt)?|[^/\n]+\.(md5|sha1|sha256|sha512|b3|blake3)",
    r"[^/\n]+\.(sig|asc|minisig|sigstore|torrent)|magnetar\.toml",
)
"""Kinds of files that no runtime loads, as regular expressions over a whole lower-case name, or over a whole path."""

CODE_OR_WEIGHTS = re.compile(
    r".*\.(py[cdiowz]?|so|dll|dylib|exe|sh|bat|ps1|jar|js|wasm|pth?|bin|ckpt|pkl|pickle|joblib|dill|msgpack|h5|keras|pb"
    r"|onnx|tflite|npy|npz|safetensors|gguf|ggml|nemo|mar|jinja2?|json|model|tiktoken)([-.][^/]*)?"
)
"""What is loadable even inside of a folder that only version control or Magnetar itself reads."""

GIT = re.compile(
    r"\.git/(head|index|config|description|packed-refs|orig_head|fetch_head|commit_editmsg|shallow"
    r"|(objects|refs|logs|info|lfs)/.+|hooks/[^/]+\.sample)"
)
"""What git itself keeps. A hook is not among it: git runs it."""

STATE = re.compile(
    r"\.magnetar/(lock|(origin|conversion|stamps)\.json|release\.torrent|resume|\.[^/]*\.parts|[^/]+\.partial)"
)
"""What Magnetar itself keeps beside a release, and reads as hints only."""

_NEVER_LOADED = re.compile("|".join(f"(?:{pattern})" for pattern in NEVER_LOADED))


def may_be_loaded(path: str) -> bool:
    """Whether a runtime could load or run the file at this relative path. Only the name is looked at.

    A file that may not be loaded can differ from anything without changing what a model computes.
    """
    whole = path.lower()
    name = whole.rsplit("/", 1)[-1]
    if is_own_state(path) or (GIT.fullmatch(whole) and not CODE_OR_WEIGHTS.fullmatch(name)):
        return False
    if whole.startswith((".git/", ".magnetar/")) or "/.git/" in whole or "/.magnetar/" in whole:
        return True
    return not (_NEVER_LOADED.fullmatch(name) or _NEVER_LOADED.fullmatch(whole))


def is_own_state(path: str) -> bool:
    """Whether it is one of the files that Magnetar keeps in a folder's ``.magnetar``."""
    return STATE.fullmatch(path) is not None
