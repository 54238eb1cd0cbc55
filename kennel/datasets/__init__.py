"""Datasets on this machine and in the bucket: check, clean, download, upload, erase."""
