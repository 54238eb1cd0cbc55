"""The table of image formats: what is in it is decoded, and is what the contract and the page name."""

import json

import pytest

from classifier import web_page
from helpers import REPOSITORY
from helpers.images import encode, gradient
from inference import decoder, image_file
from inference.formats import FORMATS, MEDIA_TYPES, SIGNATURE, SIGNATURE_BYTES
from training.data.formats import CONVERTIBLE, EXTENSIONS, UNREADABLE, format_of


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_recognized_parsed_and_decoded(name: str) -> None:
    data = encode(gradient(40, 30), name)
    assert SIGNATURE.match(data[:SIGNATURE_BYTES])
    assert format_of(data) == name
    assert image_file.read(data).format == name
    decoded = decoder.decode(data, 30)
    assert (decoded.format, decoded.width, decoded.height) == (name, 40, 30)


def test_contract_takes_each_format() -> None:
    contract = json.loads((REPOSITORY / "lambda" / "classifier" / "openapi.json").read_text())
    content = contract["paths"]["/"]["post"]["requestBody"]["content"]
    assert tuple(content) == (*MEDIA_TYPES, "application/json")
    assert all(content[kind]["schema"]["contentMediaType"] == kind for kind in MEDIA_TYPES)


def test_page_offers_each_format() -> None:
    assert f'accept="{",".join(MEDIA_TYPES)}"' in web_page.response(1_000_000)["body"]


def test_formats_are_in_one_group() -> None:
    groups = [set(FORMATS), set(CONVERTIBLE), set(UNREADABLE)]
    assert sum(map(len, groups)) == len(set.union(*groups))
    extensions = [extension for of_format in EXTENSIONS.values() for extension in of_format]
    assert len(extensions) == len(set(extensions))
