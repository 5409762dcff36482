"""A DICOMweb archive: new SWI series get a segmentation and a report back."""
