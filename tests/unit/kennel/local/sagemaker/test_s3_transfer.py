from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kennel.local.sagemaker.s3_transfer import upload


def test_file_that_goes_meanwhile_keeps_no_other_back(tmp_path: Path) -> None:
    """The files after it counted as uploaded and never were: a search's result was lost (seen in test_usage)."""
    for name in ("features.npy.new", "tuning.json"):
        (tmp_path / name).write_text(name)
    uploaded: list[str] = []
    asked: set[Path] = set()

    def put(file: str, bucket: str, key: str) -> None:
        if file.endswith(".new"):
            raise FileNotFoundError(file)
        uploaded.append(key)

    def not_yet(file: Path) -> bool:
        new = file not in asked
        asked.add(file)
        return new

    session: Any = SimpleNamespace(client=lambda *_, **__: SimpleNamespace(upload_file=put))
    for _ in range(2):
        upload(session, "", tmp_path, "s3://bucket/run", not_yet)
    assert uploaded == ["run/tuning.json"]
