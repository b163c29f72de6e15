"""Refused DICOM objects, and facts about accepted ones."""

import pytest
from pydicom import uid

from mammoscope.errors import ImageError, NotAMammogramError, UnsupportedImageError
from mammoscope.imaging.dicom import Pseudonyms
from mammoscope.imaging.mammogram import Laterality, View
from mammoscope.imaging.reading import read
from tests.dicom_objects import changed, code, mammogram_object, parsed, written


@pytest.fixture(scope="module")
def mammogram():
    return mammogram_object()


FROM_TOMOSYNTHESIS = {"ImageType": ["DERIVED", "PRIMARY", "TOMO", "GENERATED_2D"]}
MAGNIFIED = {"ViewCodeSequence": [code("399162004", ViewModifierCodeSequence=[code("399163009")])]}
SPOT = {"ViewCodeSequence": [code("R-10242", "SRT", ViewModifierCodeSequence=[code("R-102D7")])]}


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"Modality": "CT"}, NotAMammogramError, "modality is CT; only MG"),
        ({"Modality": "US"}, NotAMammogramError, "modality is US"),
        ({"Modality": None, "SOPClassUID": uid.CTImageStorage}, NotAMammogramError, "modality"),
        ({"PresentationIntentType": "FOR PROCESSING"}, UnsupportedImageError, "FOR PROCESSING"),
        (
            {"SOPClassUID": uid.DigitalMammographyXRayImageStorageForProcessing},
            UnsupportedImageError,
            "FOR PROCESSING",
        ),
        ({"SOPClassUID": uid.BreastTomosynthesisImageStorage}, NotAMammogramError, "tomosynthesis"),
        (
            {"SOPClassUID": uid.BreastProjectionXRayImageStorageForPresentation},
            NotAMammogramError,
            "tomosynthesis",
        ),
        (FROM_TOMOSYNTHESIS, NotAMammogramError, "tomosynthesis"),
        (MAGNIFIED, NotAMammogramError, "magnification"),
        ({"EstimatedRadiographicMagnificationFactor": 1.8}, NotAMammogramError, "magnification"),
        (SPOT, NotAMammogramError, "spot compression"),
        ({"ViewCodeSequence": [code("127457009")]}, NotAMammogramError, "specimen"),
        ({"ViewCodeSequence": [code("G-8310", "SRT")]}, NotAMammogramError, "specimen"),
        (
            {"SOPClassUID": uid.SecondaryCaptureImageStorage, "ConversionType": "WSD"},
            NotAMammogramError,
            "secondary capture",
        ),
        ({"ImageType": ["DERIVED", "SECONDARY", "CAD"]}, NotAMammogramError, "marks"),
        ({"NumberOfFrames": 2}, UnsupportedImageError, "several frames"),
        ({"PixelData": None}, UnsupportedImageError, "no pixels"),
        ({"SamplesPerPixel": 3}, UnsupportedImageError, "grey"),
        ({"PhotometricInterpretation": "RGB"}, UnsupportedImageError, "grey"),
        ({"PhotometricInterpretation": None}, UnsupportedImageError, "grey"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, UnsupportedImageError, "32 bits"),
    ],
)
def test_refused_with_a_reason(mammogram, changes, error, reason):
    with pytest.raises(error, match=reason):
        read(changed(mammogram, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"EstimatedRadiographicMagnificationFactor": 1.08},
        {"SOPClassUID": uid.ComputedRadiographyImageStorage},
        # Digitised film.
        {"SOPClassUID": uid.SecondaryCaptureImageStorage, "ConversionType": "DF"},
        {"Modality": None},
        {"NumberOfFrames": 1},
        {"PatientAge": "sixty", "PatientOrientation": "?", "BreastImplantPresent": "maybe"},
        {"ViewCodeSequence": None, "ImageType": None, "PatientID": None},
        {"SamplesPerPixel": None, "PixelRepresentation": None, "HighBit": None},
    ],
)
def test_accepted(mammogram, changes):
    assert read(changed(mammogram, **changes)).pixels.shape == (256, 208)


@pytest.mark.parametrize(
    ("changes", "view"),
    [
        ({"ViewPosition": "ML", "ViewCodeSequence": None}, View.MEDIO_LATERAL),
        ({"ViewPosition": "MLO", "ViewCodeSequence": None}, View.MEDIO_LATERAL_OBLIQUE),
        ({"ViewPosition": "LMO", "ViewCodeSequence": None}, View.LATERO_MEDIAL_OBLIQUE),
        ({"ViewPosition": None, "ViewCodeSequence": [code("399260004")]}, View.MEDIO_LATERAL),
        ({"ViewPosition": None, "ViewCodeSequence": [code("R-10226")]}, View.MEDIO_LATERAL_OBLIQUE),
        ({"ViewPosition": None, "ViewCodeSequence": [code("399192008")]},
         View.CRANIO_CAUDAL_EXAGGERATED_LATERALLY),
        ({"ViewPosition": None, "ViewCodeSequence": None}, None),
        ({"ViewPosition": "AP", "ViewCodeSequence": [code("1234")]}, None),
    ],
)  # fmt: skip
def test_views(mammogram, changes, view):
    read_back = read(changed(mammogram, **changes))
    assert read_back.view is view
    assert read_back.warnings == ()


def test_contradictory_views_are_ignored(mammogram):
    read_back = read(changed(mammogram, ViewPosition="ML", ViewCodeSequence=[code("399368009")]))
    assert read_back.view is None
    assert any("ML and MLO" in warning for warning in read_back.warnings)


@pytest.mark.parametrize(
    ("changes", "laterality", "warned"),
    [
        ({"ImageLaterality": "R"}, Laterality.RIGHT, False),
        ({"ImageLaterality": None, "FrameLaterality": "R"}, Laterality.RIGHT, False),
        ({"ImageLaterality": None, "Laterality": "R"}, Laterality.RIGHT, False),
        ({"ImageLaterality": "L", "Laterality": "R"}, None, True),
        ({"ImageLaterality": "B"}, None, True),
        ({"ImageLaterality": None}, None, False),
        ({"ImageLaterality": "links"}, None, False),
    ],
)
def test_lateralities(mammogram, changes, laterality, warned):
    read_back = read(changed(mammogram, **changes))
    assert read_back.laterality is laterality
    assert bool(read_back.warnings) is warned


@pytest.mark.parametrize(
    ("changes", "chest_wall"),
    [
        ({"PatientOrientation": ["A", "R"]}, "left"),
        ({"PatientOrientation": ["P", "L"]}, "right"),
        ({"PatientOrientation": ["AFL", "FR"]}, "left"),
        ({"PatientOrientation": None}, "left"),
        ({"PatientOrientation": None, "ImageLaterality": "R"}, "right"),
        ({"PatientOrientation": None, "FieldOfViewHorizontalFlip": "YES"}, None),
        ({"PatientOrientation": None, "FieldOfViewHorizontalFlip": "NO"}, "left"),
        ({"PatientOrientation": None, "ImageLaterality": None}, None),
        # The orientation describes the image as it is stored, flipped or not.
        ({"PatientOrientation": ["A", "R"], "FieldOfViewHorizontalFlip": "YES"}, "left"),
    ],
)
def test_side_of_the_chest_wall(mammogram, changes, chest_wall):
    assert read(changed(mammogram, **changes)).exposure.chest_wall == chest_wall


@pytest.mark.parametrize(
    ("text", "age"),
    [("045Y", 45), ("018M", 1.5), ("097Y", 90), ("45Y", None), ("0x5Y", None), ("", None)],
)
def test_ages(mammogram, text, age):
    assert read(changed(mammogram, PatientAge=text)).exposure.age == age


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("HOLOGIC, Inc.", "Hologic"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ("GE", "GE"),
        ("Gerda Doe", None),
        ("SIEMENS", "Siemens"),
    ],
)
def test_manufacturers_are_named_from_a_list(mammogram, text, name):
    assert read(changed(mammogram, Manufacturer=text)).exposure.manufacturer == name


def test_pseudonyms_depend_on_the_key(mammogram):
    ours, theirs = Pseudonyms(b"0" * 16), Pseudonyms(b"1" * 16)
    first = read(mammogram, pseudonyms=ours).exposure
    again = read(changed(mammogram, ImageLaterality="R"), pseudonyms=ours).exposure
    assert first.patient == again.patient
    assert first.study == again.study
    assert first.patient != first.study
    assert read(mammogram, pseudonyms=theirs).exposure.patient != first.patient
    assert read(mammogram).exposure.patient is None
    other = read(changed(mammogram, PatientID="phantom-3"), pseudonyms=ours).exposure
    assert other.patient != first.patient
    issued = read(changed(mammogram, IssuerOfPatientID="elsewhere"), pseudonyms=ours).exposure
    assert issued.patient != first.patient


def test_without_an_id_the_study_is_known(mammogram):
    ours = Pseudonyms()
    nameless = [
        read(changed(mammogram, PatientID="", StudyInstanceUID=study), pseudonyms=ours).exposure
        for study in ("1.2.3", "1.2.3", "1.2.4")
    ]
    assert {each.patient for each in nameless} == {None}
    assert nameless[0].study == nameless[1].study != nameless[2].study


def test_short_keys_are_refused():
    with pytest.raises(ValueError, match="16"):
        Pseudonyms(b"planted")


def plant(elements, planted: str) -> None:
    """Write a planted into every element that takes text, and into every other that takes one."""
    for element in list(elements.iterall()):
        keep = ("Photometric", "Modality", "SOPClass", "PresentationIntent", "VOILUTFunction")
        if element.keyword.startswith(keep):
            continue
        if element.VR in ("PN", "LO", "SH", "CS", "ST", "LT", "UT", "AE", "AS"):
            element.value = planted
    for keyword in ("PatientName", "PatientComments", "OtherPatientIDs", "InstitutionName",
                    "OperatorsName", "PatientAddress", "StationName", "ProtocolName",
                    "StudyDescription", "ImageComments", "RequestingPhysician",
                    "DeviceSerialNumber", "PerformedStationAETitle", "FrameLaterality",
                    "IssuerOfPatientID", "WindowCenterWidthExplanation"):  # fmt: skip
        setattr(elements, keyword, planted)
    elements.PatientBirthDate = elements.StudyDate = "19570311"
    elements.add_new(0x00091001, "LO", planted)
    elements.private_block(0x0011, planted, create=True).add_new(1, "LT", planted)
    elements.file_meta.SourceApplicationEntityTitle = planted
    elements.file_meta.ImplementationVersionName = planted
    elements.preamble = planted.encode().ljust(128, b"\0")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Modality": "PLANTED"},
        {"PhotometricInterpretation": "PLANTED"},
        {"Rows": 1},
        {"BitsStored": 40},
        {"PixelData": b"too few"},
        {"NumberOfFrames": "PLANTED"},
        {"WindowWidth": "PLANTED", "WindowCenter": "PLANTED"},
        {"ImageLaterality": "PLANTED"},
    ],
)
def test_nothing_identifying_leaves_the_reader(mammogram, changes, caplog, capfd, recwarn):
    planted = "DOE^JANE1957"
    elements = parsed(mammogram)
    plant(elements, planted)
    for keyword, value in changes.items():
        if keyword not in elements:
            setattr(elements, keyword, 1)
        element = elements[keyword]
        if value == "PLANTED":
            element.VR = "LO"
            element.value = planted
        else:
            element.value = value
    data = written(elements)
    assert planted.encode() in data
    caplog.set_level(0)
    recwarn.clear()  # pydicom warned while writing
    caplog.clear()
    said = ""
    try:
        answer = read(data, pseudonyms=Pseudonyms())
        said = repr(answer)
    except ImageError as err:
        said = f"{err!r} {err.__cause__!r}"
    captured = capfd.readouterr()
    warned = " ".join(str(warning.message) for warning in recwarn)
    for place in (said, caplog.text, captured.out, captured.err, warned):
        for part in (planted, "DOE", "JANE", "1957", "19570311", "PHANTOM-3"):
            assert part not in place
