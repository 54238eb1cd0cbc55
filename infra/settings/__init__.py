"""The settings of a stage in cdk.json, a module for each part. docs/settings.md and cdk.schema.json come from here."""

from infra.settings.endpoint import METRIC_DELAY_S, EndpointSettings, ServerlessSettings
from infra.settings.function import FunctionSettings
from infra.settings.operations import OperationsSettings
from infra.settings.stage import SERVERLESS_BODY_BYTES, StageSettings
from infra.settings.training import Ec2TrainingSettings, NotebookSettings

__all__ = [
    "METRIC_DELAY_S",
    "SERVERLESS_BODY_BYTES",
    "Ec2TrainingSettings",
    "EndpointSettings",
    "FunctionSettings",
    "NotebookSettings",
    "OperationsSettings",
    "ServerlessSettings",
    "StageSettings",
]
