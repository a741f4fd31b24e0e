"""Every name of the library's face, used as a caller would. It is type-checked (`make lint`), and never run."""

from pathlib import Path

from magnetar import (
    Checkpoint,
    LocalRelease,
    Magnet,
    Manifest,
    Release,
    errors,
    events,
    findings,
    load_manifest,
    open_checkpoint,
    parse_magnet,
)


def fetch_and_use(parent: Path) -> findings.Outcome:
    release = Release("mixtral-8x7b-v0.1", proxy="")
    known: Manifest | None = release.manifest
    planned: Path = release.plan(parent).folder
    here: LocalRelease = release.fetch(parent, use_mirrors=bool(known and planned), emit=watch)
    worst = findings.worst([here.verify(quick=True).outcome, here.boot().outcome])
    converted: Path = here.convert("gguf").destination
    seen: int = LocalRelease(converted).inspect(tensors=True).total_parameters
    return worst if seen else here.compare(LocalRelease(converted)).outcome


def mend(folder: str) -> str:
    try:
        return str(LocalRelease(Path(folder)).repair("austen-moe", emit=watch))
    except errors.NoSpace as error:
        return f"{error.message}; {error.hint}; {int(error.exit_code)}"


def watch(event: events.Event) -> None:
    match event:
        case events.Moved(step, amount):
            print(step.value, amount + 1)
        case events.FoundWrong(finding):
            print(finding.kind, finding.subject, finding.detail)
        case events.Adopted(path, source) | events.MirrorDropped(path, source):
            print(path, source)
        case _:
            pass


def look(path: Path) -> tuple[str, int]:
    link: Magnet = parse_magnet("5546272da9065eddeb6fcd7ffddeef5b75be79a7")
    manifest: Manifest = load_manifest(path / "magnetar.toml")
    checkpoint: Checkpoint = open_checkpoint(path)
    with checkpoint:
        return link.infohash_v1 + manifest.name, checkpoint.parameters
