"""Clients of the embedded AWS's own services, made in its process."""

from typing import Any

import boto3
from botocore.loaders import create_loader
from botocore.session import get_session

# A session's own would read and parse the same descriptions of services again: a third of what a deploy took.
_LOADER = create_loader()


def session(**credentials: str) -> boto3.Session:
    """A session that shares what is known of the services; by default with this process's credentials."""
    core = get_session()
    core.register_component("data_loader", _LOADER)
    return boto3.Session(botocore_session=core, **credentials)


def client(service: str, endpoint: str) -> Any:
    """A client with this process's credentials."""
    return session().client(service, endpoint_url=endpoint)  # ty: ignore[no-matching-overload]  # any service
