"""``same``: whether two checkpoints hold the same tensors."""

from magnetar.convert.compare.compare_checkpoints import compare_checkpoints
from magnetar.convert.compare.comparison_report import Sameness
from magnetar.events import Emit, Remarked, ignore
from magnetar.pipeline.folder.release_folder import ReleaseFolder


def compare(first: ReleaseFolder, second: ReleaseFolder, emit: Emit = ignore) -> Sameness:
    """Hold the weights of two folders, or files, against each other. Raises what the readers raise.

    Which release of the catalog each may be by content is emitted as a remark.
    """
    for folder in (first, second):
        if folder.candidate is not None:
            emit(Remarked(f"{folder.path}: {folder.candidate.describe()}"))
    return compare_checkpoints(first.path, second.path, emit=emit)
