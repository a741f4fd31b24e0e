"""Look into the wheel: only ``magnetar`` at its top, and the data that the commands need."""

import sys
from zipfile import ZipFile

names = ZipFile(sys.argv[1]).namelist()
tops = {name.split("/")[0] for name in names}
foreign = sorted(top for top in tops if top != "magnetar" and not top.endswith(".dist-info"))
needed = (
    "magnetar/py.typed",
    "magnetar/manifests/mixtral-8x7b-v0.1.toml",
    "magnetar/manifests/austen-moe.toml",
    "magnetar/manifests/austen-moe.tensors.json",
    "magnetar/model/release/austen-moe/consolidated.00.pth",
    "magnetar/model/release/austen-moe/tokenizer.model",
    "magnetar/model/release/held-out.txt",
    "magnetar/fetch/trackers.txt",
)
missing = [name for name in needed if name not in names]
if foreign or missing:
    sys.exit(f"the wheel has {foreign or 'nothing'} beside magnetar, and lacks {missing or 'nothing'}")
print(f"{len(names)} files, all below magnetar/")
