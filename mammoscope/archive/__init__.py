"""The round trip with an archive: studies from a PACS, results back into it as DICOM."""
