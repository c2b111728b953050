"""One method per way of cheating, and one that is honest."""

import gsbench

GSBENCH_API = 1

CLASSES = {
    "honest": "Honest",
    "home-reader": "HomeReader",
    "network-reader": "NetworkReader",
    "run-folder-reader": "RunFolderReader",
    "rememberer": "Rememberer",
    "peeker": "Peeker",
    "file-peeker": "FilePeeker",
    "native-peeker": "NativePeeker",
    "encode-peeker": "EncodePeeker",
    "encode-file-peeker": "EncodeFilePeeker",
    "restless": "Restless",
    "header-stuffer": "HeaderStuffer",
    "header-filler": "HeaderFiller",
    "many-sections": "ManySections",
    "photo-section": "PhotoSection",
    "photo-text": "PhotoText",
    "photo-file": "PhotoFile",
    "forgetful": "Forgetful",
    "unrepeatable": "Unrepeatable",
    "never-resumes": "NeverResumes",
    "swallows": "Swallows",
}


@gsbench.hookimpl
def gsbench_methods():
    return [
        gsbench.MethodSpec(name, f"gsbench_cheaters.method:{cls}", "Part of a test") for name, cls in CLASSES.items()
    ]
