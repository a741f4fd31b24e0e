"""Judge an Ollama Modelfile, line by line."""

from collections.abc import Iterator

from magnetar.convert.derive.judge_config import RUNS, Contexts
from magnetar.convert.derive.judgement import Judgement, differs, right, show, unknown, wrong
from magnetar.convert.write.gguf_target import MODELFILE_TEMPLATE

MAX_LINES = 1000


def judge_modelfile(content: bytes, weights: str, contexts: Contexts) -> Iterator[Judgement]:
    """The lines of a Modelfile for weights whose first file is ``weights``.

    A template of another form, and every line that is not known, is not checked: Ollama runs templates.
    """
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        yield wrong("Modelfile", "is not UTF-8 text")
        return
    if len(lines) > MAX_LINES:
        yield unknown("Modelfile", f"has {len(lines):,} lines")
        return
    seen = set()
    for number, line in enumerate(lines, start=1):
        word, _, rest = line.strip().partition(" ")
        word, rest = word.upper(), rest.strip()
        if not word or word.startswith("#"):
            continue
        if word == "PARAMETER" and rest.split(" ")[0] == "num_ctx":
            word, rest = "num_ctx", rest.partition(" ")[2].strip()
        if word in seen:
            yield unknown(f"line {number}", f"repeats {show(word)}")
        elif word == "FROM":
            yield right("FROM") if rest in (f"./{weights}", weights) else wrong("FROM", differs(rest, f"./{weights}"))
        elif word == "num_ctx":
            yield contexts.judge("num_ctx", int(rest) if rest.isascii() and rest.isdigit() and len(rest) < 12 else rest)
        elif line.strip() == MODELFILE_TEMPLATE:
            yield right("TEMPLATE")
        else:
            yield unknown(f"line {number}", RUNS if word == "TEMPLATE" else f"is not known: {show(line)}")
        seen.add(word)
    if "FROM" not in seen:
        yield wrong("FROM", "is missing")
    for word in ("TEMPLATE", "num_ctx"):
        if word not in seen:
            yield unknown(word, "is missing; the conversion of the release has it")
