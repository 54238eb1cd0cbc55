"""The registry's permissions, out of an archive in AWS's form."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from helpers.schemas import main

ALARM = {
    "typeName": "AWS::CloudWatch::Alarm",
    "handlers": {"create": {"permissions": ["cloudwatch:PutMetricAlarm", "cloudwatch:DescribeAlarms"]}},
    "tagging": {"taggable": True, "permissions": ["cloudwatch:TagResource"]},
}


def archive(file: Path, *schemas: object) -> Path:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as files:
        for number, schema in enumerate(schemas):
            files.writestr(f"{number}.json", json.dumps(schema))
    file.write_bytes(buffer.getvalue())
    return file


def test_changes_since_last_time_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "handlers.json"
    main(kept, archive(tmp_path / "a.zip", ALARM, {"typeName": "AWS::X::NoHandlers"}))
    assert json.loads(kept.read_text()) == {
        "AWS::CloudWatch::Alarm": {
            "create": ["cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm"],
            "tagging": ["cloudwatch:TagResource"],
        }
    }
    more = {"create": {"permissions": ["cloudwatch:PutMetricAlarm", "cloudwatch:SetAlarmState"]}}
    capsys.readouterr()
    main(kept, archive(tmp_path / "b.zip", {**ALARM, "handlers": more}))
    assert capsys.readouterr().out.splitlines() == [
        "AWS::CloudWatch::Alarm create: + cloudwatch:SetAlarmState",
        "AWS::CloudWatch::Alarm create: - cloudwatch:DescribeAlarms",
    ]
