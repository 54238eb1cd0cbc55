"""Folders of images: layout, classes, checks."""
