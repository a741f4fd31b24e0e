from pathlib import Path

from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.convert.write.destination import SIDE_FILES_ROOM
from magnetar.model.bundled import bundled_release
from magnetar.pipeline.convert import convert_release, forecast_release


def test_what_the_catalog_knows_goes_into_the_record(tmp_path: Path) -> None:
    request = ConvertRequest(bundled_release(), tmp_path / "out", verify=False)
    converted = convert_release(request)
    note = (tmp_path / "out" / "CONVERSION.md").read_text()
    assert "These are the weights of austen-moe" in note
    assert "Made from" not in note  # nobody has just checked the source
    assert converted.notes == ()  # the licence is known, and its text is there
    assert not convert_release(request, proven=True).already
    assert "Made from consolidated.00.pth, `sha256:" in (tmp_path / "out" / "CONVERSION.md").read_text()


def test_a_forecast_is_of_the_conversion_that_would_be_done(tmp_path: Path) -> None:
    request = ConvertRequest(bundled_release(), tmp_path / "out", target="gguf", verify=False)
    foreseen = forecast_release(request)
    converted = convert_release(request)
    assert {file.path: file.size for file in foreseen.files}.items() <= {
        file.path: file.size for file in converted.files
    }.items()
    assert forecast_release(request).missing == SIDE_FILES_ROOM  # the folder is known again as that conversion
