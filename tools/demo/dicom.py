"""Synthetic studies: a fixed seed, no patient. The markers are what must never leave the mount."""
import pathlib

import numpy
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MARKERS = [b"ZEBRAQUARTZ^MARKERELLA", b"Suspected vermilion nodule"]
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def write_study(folder, slices=20, seed=7):
    """Writes CT slices of 512 x 512 x 16 bit; returns their paths in order."""
    rng = numpy.random.default_rng(seed)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    prefix = "1.2.826.0.1.3680043.8.498."
    study = generate_uid(prefix, [f"study{seed}"])
    series = generate_uid(prefix, [f"series{seed}"])
    frame = generate_uid(prefix, [f"frame{seed}"])
    paths = []
    for number in range(1, slices + 1):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CT_IMAGE
        meta.MediaStorageSOPInstanceUID = generate_uid(prefix, [f"image{seed}.{number}"])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"IM{number:05}"
        image = FileDataset(str(path), Dataset(), file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID = CT_IMAGE
        image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID = study
        image.SeriesInstanceUID = series
        image.FrameOfReferenceUID = frame
        image.PatientName = MARKERS[0].decode()
        image.PatientID = "DEMO-0001"
        image.PatientBirthDate = "19700101"
        image.PatientSex = "O"
        image.StudyDate = "20260131"
        image.StudyTime = "120000"
        image.StudyID = "1"
        image.AccessionNumber = ""
        image.ReferringPhysicianName = ""
        image.StudyDescription = MARKERS[1].decode()
        image.Modality = "CT"
        image.SeriesNumber = 1
        image.InstanceNumber = number
        image.ImagePositionPatient = [0, 0, number]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing = [1, 1]
        image.SliceThickness = 1
        image.Rows = image.Columns = 512
        image.SamplesPerPixel = 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit = 15
        image.PixelRepresentation = 0
        image.RescaleIntercept = 0
        image.RescaleSlope = 1
        image.WindowCenter = 2048
        image.WindowWidth = 4096
        image.PixelData = rng.integers(0, 4096, (512, 512), dtype=numpy.uint16).tobytes()
        image.is_little_endian = True
        image.is_implicit_VR = False
        image.save_as(str(path), write_like_original=False)
        paths.append(path)
    return paths
