"""Change one thing at a time in a pure module, and see whether its tests notice: ``.ci/mutate.py [PART OF A NAME…]``.

A change that no test notices is printed with its line, as a survivor. Some survivors are no fault of the tests: the
changed program does the same. Nothing is written: each changed module lives in a process of its own.
"""

import ast
import importlib
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MODULES = {
    "magnetar.characters": ["tests/magnetar/test_characters.py"],
    "magnetar.findings": ["tests/manifests/checking", "tests/magnetar/cli/test_exit_codes.py"],
    "magnetar.convert.layout.architecture": ["tests/convert/layout"],
    "magnetar.convert.layout.mapping": ["tests/convert/layout", "tests/convert/write/test_plan.py"],
    "magnetar.convert.layout.tables": ["tests/convert/layout"],
    "magnetar.convert.layout.tensor_layout": ["tests/convert/layout"],
    "magnetar.convert.write.plan": ["tests/convert/write/test_plan.py"],
    "magnetar.fetch.link.healing": ["tests/fetch/link"],
    "magnetar.fetch.link.magnet": ["tests/fetch/link"],
    "magnetar.fetch.mirror.schedule": ["tests/fetch/mirror/test_schedule.py"],
    "magnetar.fetch.torrent.piece_layout": ["tests/fetch/torrent/test_piece_layout.py"],
    "magnetar.manifests.checking.choose_manifest": ["tests/manifests/checking/test_choose_manifest.py"],
    "magnetar.manifests.checking.stand_ins": ["tests/manifests/checking/test_stand_ins.py"],
    "magnetar.manifests.folder.safe_path": ["tests/manifests/folder"],
    "magnetar.model.cluster.shares": ["tests/model/cluster/test_torchrun.py", "-k", "every_tensor"],
}
LIBRARIES = ("numpy", "pydantic", "pytest", "hypothesis", "hypothesis.strategies", "libtorrent", "torch", "safetensors")
SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip

Change = tuple[int, str, Callable[[], None]]
"""The line, what is changed there, and what changes it."""


def changes(tree: ast.Module) -> Iterator[Change]:
    """Every change that can be made to a module. Annotations and docstrings are left alone."""
    annotations = [getattr(node, name, None) for node in ast.walk(tree) for name in ("annotation", "returns")]
    untouched = {node for annotation in filter(None, annotations) for node in ast.walk(annotation)}
    for node in (node for node in ast.walk(tree) if node not in untouched):
        yield from _operators(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            other = not node.value if isinstance(node.value, bool) else node.value + 1
            yield node.lineno, f"{node.value} -> {other}", partial(setattr, node, "value", other)
        for body in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
            if not isinstance(body, list):
                continue
            for place, statement in enumerate(body):
                is_call = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
                if is_call or isinstance(statement, ast.Raise):
                    told = f"without: {ast.unparse(statement).splitlines()[0][:70]}"
                    yield statement.lineno, told, partial(body.__setitem__, place, ast.Pass())


def _operators(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            if type(operator) in SWAPPED:
                other = SWAPPED[type(operator)]()
                yield node.lineno, _told(operator, other), partial(node.ops.__setitem__, place, other)
    elif isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPPED:
        other = SWAPPED[type(node.op)]()
        yield node.lineno, _told(node.op, other), partial(setattr, node, "op", other)
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        negated = ast.UnaryOp(ast.Not(), node.test)
        yield node.lineno, f"not ({ast.unparse(node.test)[:60]})", partial(setattr, node, "test", negated)


def _told(one: ast.AST, other: ast.AST) -> str:
    return f"{type(one).__name__} -> {type(other).__name__}"


def read(module: str) -> ast.Module:
    """The source of a module, from the folder that it is mapped to."""
    part = module.removeprefix("magnetar.").replace(".", "/") + ".py"
    path = ROOT / part if (ROOT / part).exists() else ROOT / "magnetar" / part
    return ast.parse(path.read_text())


def start(module: str, number: int | None, limit: int) -> int:
    """Run the tests of a module, with that change or none, in a process with so many CPU seconds; its number."""
    child = os.fork()
    if child:
        return child
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    os.dup2(1, 2)
    _install(module, number)
    words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    os._exit(int(importlib.import_module("pytest").main([*words, *MODULES[module]])))


def find_survivors(module: str, count: int, limit: int) -> Iterator[int]:
    """The numbers of the changes that no test notices; as many are tried at once as there are cores."""
    running: dict[int, int] = {}
    for number in range(count + (os.cpu_count() or 1)):
        if number >= (os.cpu_count() or 1):
            process, status = os.wait()
            tried = running.pop(process)
            if status == 0:
                yield tried
        if number < count:
            running[start(module, number, limit)] = number


def _install(module: str, number: int | None) -> None:
    """Give whoever imports the module the changed one. Without a change, this shows that the way there is sound."""
    tree = read(module)
    if number is not None:
        list(changes(tree))[number][2]()
    code, original = compile(ast.fix_missing_locations(tree), module, "exec"), SourceFileLoader.get_code
    patched: Any = SourceFileLoader
    patched.get_code = lambda loader, name: code if name == module else original(loader, name)


def main(wanted: list[str]) -> None:
    """Try every change to the modules whose name holds one of ``wanted``, or to all."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    for library in LIBRARIES:
        importlib.import_module(library)
    alive = total = 0
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = scratch
        for module in [name for name in MODULES if not wanted or any(word in name for word in wanted)]:
            _, status, used = os.wait4(start(module, None, limit=3600), 0)
            if status:
                print(f"{module}: passed over, its tests fail as it is: {' '.join(MODULES[module])}")
                continue
            found = list(changes(read(module)))
            survivors = list(find_survivors(module, len(found), limit=10 + int(10 * (used.ru_utime + used.ru_stime))))
            print(f"{module}: {len(survivors)} of {len(found)} changes survive", flush=True)
            for line, told, _ in sorted((found[number] for number in survivors), key=lambda change: change[0]):
                print(f"    line {line}: {told}", flush=True)
            alive, total = alive + len(survivors), total + len(found)
    print(f"{alive} of {total} changes survive")


if __name__ == "__main__":
    main(sys.argv[1:])
