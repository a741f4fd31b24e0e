"""What is shown of a verification."""

import io

from rich.console import Console

from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.checking.verify_report import VerifyReport
from magnetar.render.commands.verify import draw_report
from tests.effort import measured_effort


def report_on(count: int) -> VerifyReport:
    """A release without files of its own, beside so many that it does not have."""
    paths = tuple(f"many/{number}.bin" for number in range(count))
    return VerifyReport("x", "tiny", "it was named", Voucher.CATALOG, (), (), paths)


def test_a_folder_with_many_files_too_many_is_drawn_in_proportion_to_their_number() -> None:
    def draw(count: int) -> float:
        with measured_effort() as effort:
            Console(file=io.StringIO(), width=80).print(draw_report(report_on(count)))
        return effort.units

    draw(10)  # what is loaded at the first time is no part of the work
    # Sixteen times in proportion; 256 times if every file were looked for among all others.
    assert draw(16_000) < 120 * max(draw(1_000), 0.1)
