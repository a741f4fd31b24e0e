import pytest

from magnetar.manifests.folder.loadable import is_own_state, may_be_loaded


@pytest.mark.parametrize(
    "path",
    [
        *("README", "README.md", "readme.MD", "LICENSE", "LICENSE.txt", "LICENSE-MIT", "NOTICE.txt", "USE_POLICY.md"),
        *("COPYING", "CITATION.cff", "CONVERSION.md", "docs/guide.rst", "assets/logo.png", "a/b.JPG"),
        *(
            ".gitattributes",
            ".gitignore",
            "sub/.DS_Store",
            "Thumbs.db",
            "SHA256SUMS",
            "B3SUMS",
            "x.sha256",
            "model.sig",
        ),
        *(".git/HEAD", ".git/config", ".git/objects/ab/cdef", ".git/hooks/pre-commit.sample", ".git/refs/heads/main"),
        *(".magnetar/origin.json", ".magnetar/conversion.json", ".magnetar/lock", ".magnetar/release.torrent"),
        *(".cache/huggingface/download/config.json.metadata", ".cache/huggingface/.gitignore", "magnetar.toml"),
    ],
)
def test_what_no_runtime_loads_is_known_by_its_name(path: str) -> None:
    assert not may_be_loaded(path)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "config.json",
            "model.safetensors",
            "modeling_evil.py",
            "tokenizer.model",
            "vocab.txt",
            "merges.txt",
            "RELEASE",
        ),
        *("README.safetensors", "README.md.py", "LICENSE.bin", "license.json", "notice.so", "README.md/model.bin"),
        *("logo.png.pth", "x.sig.pkl", "chat_template.jinja", "adapter/adapter_config.json", "Modelfile", "unknown"),
        *(".git/hooks/post-checkout", ".git/evil.safetensors", ".git/objects/model.bin", "sub/.git/config"),
        *(".magnetar/evil.py", ".magnetar/config.json", "sub/.magnetar/origin.json", ".magnetar/sub/origin.json"),
        *(".cache/huggingface/download/evil.py", "readme\n.md", ".GIT/hooks/x", ".Magnetar/x.py"),
    ],
)
def test_what_is_not_known_to_be_harmless_counts_as_loadable(path: str) -> None:
    assert may_be_loaded(path)


def test_only_the_names_of_our_own_notes_are_ours() -> None:
    assert is_own_state(".magnetar/stamps.json") and is_own_state(".magnetar/.model.parts")
    assert not is_own_state(".magnetar/repair/consolidated.00.pth") and not is_own_state("magnetar/origin.json")
