"""Record what ``magnetar demo`` prints, as docs/demo.svg: ``.venv/bin/python docs/record_demo.py``."""

import io
from pathlib import Path

from rich.console import Console
from rich.text import Text

from magnetar.pipeline.demo import demonstrate
from magnetar.render.commands.demo import draw_demo
from magnetar.render.progress import PlainProgress

WIDTH = 108
PICTURE = Path(__file__).with_name("demo.svg")


def main() -> None:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text("$ make demo", style="bold"))
    progress = PlainProgress(lambda line: console.print(Text(line, style="dim", no_wrap=True, overflow="ellipsis")))
    console.print(draw_demo(demonstrate(emit=progress)))
    console.save_svg(str(PICTURE), title="make demo")
    print(f"{PICTURE.name}: {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
