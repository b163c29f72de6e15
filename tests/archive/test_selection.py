"""Which objects of an archive are predicted: mammograms of the machine, never results."""

import pytest
from pydicom import uid

from mammoscope.archive.results import encode_results
from mammoscope.archive.selection import examine
from mammoscope.errors import CorruptImageError
from mammoscope.imaging.dicom.header import TAGS
from mammoscope.phantoms.dicom import SYNTAXES, Encoding
from tests.archive.test_results import SMALL, Engine, sources
from tests.dicom_objects import changed, mammogram_object, parsed


@pytest.mark.parametrize("syntax", ["implicit", "big-endian", "deflated", "rle", "htj2k"])
def test_mammograms_in_any_syntax_are_predicted(syntax):
    bits = SYNTAXES[syntax].bits
    data = mammogram_object(Encoding(syntax, bits=12 if 12 in bits else bits[-1]))
    found = examine(data)
    assert found.left_out is None
    assert found.study_instance_uid == parsed(data).StudyInstanceUID
    assert found.sop_instance_uid == parsed(data).SOPInstanceUID


def test_our_own_results_are_never_predicted():
    for result in encode_results(sources([SMALL]), Engine.card):
        assert examine(result.data).left_out == "The object is a result of Mammoscope."


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage, "ConversionType": "DF"}, "capture"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, "derived from others"),
        ({"ImageType": ["DERIVED", "PRIMARY", "CAD"]}, "detection marks"),
        ({"Modality": "US"}, "modality is US"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING"),
        ({"NumberOfFrames": 40}, "several frames"),
        ({"EstimatedRadiographicMagnificationFactor": 1.8}, "magnification"),
    ],
)
def test_other_objects_are_left_out_with_the_reason(elements, reason):
    assert reason in (examine(changed(SMALL, **elements)).left_out or "")


def test_processed_images_for_presentation_are_predicted():
    assert examine(changed(SMALL, ImageType=["DERIVED", "PRIMARY", ""])).left_out is None


@pytest.mark.parametrize("keyword", [*TAGS, "SOPInstanceUID"])
def test_any_element_may_be_missing(keyword):
    found = examine(changed(SMALL, **{keyword: None}))
    assert found.study_instance_uid or keyword == "StudyInstanceUID"


def test_a_damaged_header_is_an_error():
    with pytest.raises(CorruptImageError):
        examine(SMALL[:140])
