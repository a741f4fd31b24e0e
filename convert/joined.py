"""One file that was split into parts, read as if it had been joined again. Nothing is written."""

from collections.abc import Sequence
from pathlib import Path

from magnetar.ranges import Concatenation, LocalFile


class JoinedFile(Concatenation):
    """Local files, one behind the other. Raises ``UsageError`` or ``DiskError`` if one cannot be opened."""

    def __init__(self, name: str, paths: Sequence[Path], kind: type[LocalFile] = LocalFile) -> None:
        self._files: list[LocalFile] = []
        try:
            for path in paths:
                self._files.append(kind(path))
        except BaseException:
            self.close()
            raise
        super().__init__(name, self._files)

    def close(self) -> None:
        for file in self._files:
            file.close()
