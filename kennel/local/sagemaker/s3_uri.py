"""Addresses of objects in S3."""


def split_uri(uri: str) -> tuple[str, str]:
    """("bucket", "key") of s3://bucket/key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
