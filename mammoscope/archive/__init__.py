"""Studies from a picture archive (PACS), and results back into it as DICOM objects."""
