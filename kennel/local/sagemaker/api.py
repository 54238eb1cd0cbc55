"""SageMaker where moto only records: jobs that run, endpoints that answer.

Each overlay gets the call's parameters and `record`, which asks moto and so validates and stores the call; what moto
stores is then brought in line with what really happens.
"""

from collections.abc import Callable
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.sagemaker.models import FakeEndpoint, FakeTrainingJob, HyperParameterTuningJob, sagemaker_backends

from kennel.local.errors import ServiceError
from kennel.local.iam.service_roles import allowed, key_arn
from kennel.local.sagemaker.endpoints import Endpoints, Rollout
from kennel.local.sagemaker.fleets import FleetSettings, Throttled, Unavailable
from kennel.local.sagemaker.scaling import forget, scaled
from kennel.local.sagemaker.training_jobs import Jobs
from kennel.local.sagemaker.tuning_jobs import Tuner
from kennel.local.service_quotas import require_instances
from kennel.local.settings import ACCOUNT, REGION

Parameters = dict[str, Any]
Record = Callable[..., Parameters]


class SageMaker:
    """The operations of SageMaker that do something here, over moto's records."""

    def __init__(self, jobs: Jobs, tuner: Tuner, endpoints: Endpoints) -> None:
        self._jobs = jobs
        self._tuner = tuner
        self._endpoints = endpoints

    def operations(self) -> dict[str, Callable[..., Any]]:
        """The overlays, by API operation."""
        return {
            "CreateTrainingJob": self.create_training_job,
            "StopTrainingJob": self.stop_training_job,
            "CreateHyperParameterTuningJob": self.create_tuning_job,
            "StopHyperParameterTuningJob": self.stop_tuning_job,
            "ListTrainingJobsForHyperParameterTuningJob": self.list_trials,
            "CreateEndpoint": self.create_endpoint,
            "UpdateEndpoint": self.update_endpoint,
            "UpdateEndpointWeightsAndCapacities": self.update_capacities,
            "DeleteEndpoint": self.delete_endpoint,
            "CreateModel": self.create_model,
            "InvokeEndpoint": self.invoke_endpoint,
            "CreateNotebookInstance": self.create_notebook,
        }

    def create_training_job(self, parameters: Parameters, record: Record) -> Parameters:
        """Starts the job on a thread."""
        name = parameters["TrainingJobName"]
        if name in _backend().training_jobs:
            raise ServiceError(400, "ResourceInUse", f"Training job names must be unique: {name} exists")
        config = parameters["ResourceConfig"]
        check_resources(config)
        use = "spot training job usage" if parameters.get("EnableManagedSpotTraining") else "training job usage"
        require_instances(use, config["InstanceType"], int(config.get("InstanceCount", 1)))
        require_grant(parameters["RoleArn"], config.get("VolumeKmsKeyId"))
        answer = record()
        job: FakeTrainingJob = _backend().training_jobs[name]
        # moto adds a metric definition and a metric of its own.
        job.algorithm_specification = parameters["AlgorithmSpecification"]
        job.final_metric_data_list = []
        self._jobs.start(job, parameters)
        return answer

    def stop_training_job(self, parameters: Parameters, record: Record) -> Parameters:
        """Ends the job as Stopped."""
        self._job(parameters["TrainingJobName"])
        self._jobs.stop(parameters["TrainingJobName"])
        return {}

    def create_tuning_job(self, parameters: Parameters, record: Record) -> Parameters:
        """Starts the trials on threads."""
        check_resources(parameters["TrainingJobDefinition"]["ResourceConfig"])
        answer = record()
        self._tuner.start(self._tuning(parameters["HyperParameterTuningJobName"]), parameters)
        return answer

    def stop_tuning_job(self, parameters: Parameters, record: Record) -> Parameters:
        """Ends the tuning job as Stopped."""
        self._tuning(parameters["HyperParameterTuningJobName"])
        self._tuner.stop(parameters["HyperParameterTuningJobName"])
        return {}

    def list_trials(self, parameters: Parameters, record: Record) -> Parameters:
        """The training jobs of a tuning job."""
        # moto has none.
        self._tuning(parameters["HyperParameterTuningJobName"])
        return {"TrainingJobSummaries": self._tuner.trials(parameters["HyperParameterTuningJobName"])}

    def create_endpoint(self, parameters: Parameters, record: Record) -> Parameters:
        """Starts the first fleet; the endpoint is Creating until it answers."""
        name = parameters["EndpointName"]
        if name in _backend().endpoints:
            raise ServiceError(400, "ValidationException", f'Cannot create already existing endpoint "{name}".')
        settings = self._settings(parameters["EndpointConfigName"])
        _require(settings, settings.instances)
        answer = record()
        endpoint: FakeEndpoint = _backend().endpoints[name]
        endpoint.endpoint_status = "Creating"
        # moto describes it as the config has it, which is another shape.
        endpoint.data_capture_config = {}
        self._endpoints.deploy(endpoint, settings, Rollout())
        return answer

    def update_endpoint(self, parameters: Parameters, record: Record) -> Parameters:
        """Blue/green to another endpoint config."""
        # moto has no UpdateEndpoint.
        endpoint = self._endpoint(parameters["EndpointName"])
        if endpoint.endpoint_status != "InService":
            raise ServiceError(
                400, "ValidationException", f"Endpoint {endpoint.endpoint_name} is {endpoint.endpoint_status}"
            )
        settings = self._settings(parameters["EndpointConfigName"])
        _refuse_another_type(endpoint, self._settings(endpoint.endpoint_config_name), settings)
        if parameters.get("RetainAllVariantProperties") and endpoint.production_variants:
            settings = settings.resized(endpoint.production_variants[0]["DesiredInstanceCount"])
        # The new fleet is there beside the old one.
        _require(settings, settings.instances)
        endpoint.endpoint_status, endpoint.failure_reason = "Updating", None
        self._endpoints.deploy(endpoint, settings, Rollout.of(parameters.get("DeploymentConfig", {})))
        return {"EndpointArn": endpoint.arn}

    def update_capacities(self, parameters: Parameters, record: Record) -> Parameters:
        """Changes the number of instances."""
        endpoint = self._endpoint(parameters["EndpointName"])
        if endpoint.endpoint_status != "InService":
            raise ServiceError(
                400, "ValidationException", f"Endpoint {endpoint.endpoint_name} is {endpoint.endpoint_status}"
            )
        wanted = parameters["DesiredWeightsAndCapacities"][0]["DesiredInstanceCount"]
        present = endpoint.production_variants[0]["DesiredInstanceCount"]
        _require(self._settings(endpoint.endpoint_config_name), wanted - present)
        endpoint.endpoint_status = "Updating"
        self._endpoints.resize(endpoint, wanted)
        return {"EndpointArn": endpoint.arn}

    def delete_endpoint(self, parameters: Parameters, record: Record) -> Parameters:
        """Forgets the endpoint and what scaled it, and stops its fleet."""
        answer = record()
        self._endpoints.remove(parameters["EndpointName"])
        forget(parameters["EndpointName"])
        return answer

    def create_notebook(self, parameters: Parameters, record: Record) -> Parameters:
        """Records the notebook instance."""
        require_grant(parameters["RoleArn"], parameters.get("KmsKeyId"))
        require_instances("notebook instance usage", parameters["InstanceType"], 1)
        return record()

    def create_model(self, parameters: Parameters, record: Record) -> Parameters:
        """Records the model."""
        answer = record()
        # moto drops the flag.
        _backend()._models[parameters["ModelName"]].enable_network_isolation = parameters.get(
            "EnableNetworkIsolation", False
        )
        return answer

    def invoke_endpoint(self, name: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Passes the request to an instance; its errors become ModelError, as in SageMaker."""
        self._endpoint(name, f"Endpoint {name} of account {ACCOUNT} not found.")
        try:
            status, answer_headers, answer = self._endpoints.invoke(name, headers, body)
        except Unavailable as error:
            raise ServiceError(503, "ServiceUnavailable", str(error)) from None
        except Throttled as error:
            raise ServiceError(400, "ThrottlingException", str(error)) from None
        if status >= 400:
            kind, text = "client" if status < 500 else "server", answer.decode(errors="replace")
            raise ServiceError(
                424,
                "ModelError",
                f"Received {kind} error ({status}) from primary with message {text!r}",
                OriginalStatusCode=status,
                OriginalMessage=text,
            )
        return status, answer_headers, answer

    def _settings(self, config_name: str) -> FleetSettings:
        backend = _backend()
        if config_name not in backend.endpoint_configs:
            raise ServiceError(400, "ValidationException", f'Could not find endpoint configuration "{config_name}".')
        variant = backend.endpoint_configs[config_name].production_variants[0]
        model = backend._models[variant["ModelName"]]
        serverless, container = variant.get("ServerlessConfig"), model.primary_container
        return FleetSettings(
            config_name=config_name,
            variant=variant["VariantName"],
            instance_type=variant.get("InstanceType"),
            max_concurrency=int(serverless["MaxConcurrency"]) if serverless else None,
            instances=int(variant.get("InitialInstanceCount", 1)),
            package_uri=container.get("ModelDataUrl") or container["ModelDataSource"]["S3DataSource"]["S3Uri"],
            role_arn=model.execution_role_arn,
            environment=container.get("Environment", {}),
            capture=backend.endpoint_configs[config_name].data_capture_config or {},
        )

    def _endpoint(self, name: str, message: str | None = None) -> FakeEndpoint:
        endpoint = _backend().endpoints.get(name)
        if endpoint is None:
            raise ServiceError(400, "ValidationError", message or f'Could not find endpoint "{name}".')
        return endpoint

    def _tuning(self, name: str) -> HyperParameterTuningJob:
        tuning = _backend().hyper_parameter_tuning_jobs.get(name)
        if tuning is None:
            raise ServiceError(400, "ResourceNotFound", f"Could not find hyper parameter tuning job '{name}'.")
        return tuning

    def _job(self, name: str) -> FakeTrainingJob:
        job = _backend().training_jobs.get(name)
        if job is None:
            raise ServiceError(400, "ValidationException", f"Requested resource not found: training job {name}")
        return job


def require_grant(role: str, key: str | None) -> None:
    """Raises Fault where a role may not grant the key of its volumes to their instance.

    Developer guide, "SageMaker AI execution roles": kms:CreateGrant in the permissions of CreateTrainingJob and
    CreateNotebookInstance.
    """
    if key and not allowed(role, "kms:CreateGrant", key_arn(key), {"kms:grantisforawsresource": "true"}):
        raise ServiceError(
            400, "ValidationException", f"{role} is not authorized to perform kms:CreateGrant on resource: {key}"
        )


def _require(settings: FleetSettings, count: int) -> None:
    if settings.instance_type and count > 0:
        require_instances("endpoint usage", settings.instance_type, count)


def _local_storage(instance_type: str) -> bool:
    """True if a type has local disks, by EC2's DescribeInstanceTypes, as moto has it."""
    return bool(INSTANCE_TYPES.get(instance_type.removeprefix("ml."), {}).get("InstanceStorageSupported"))


def check_resources(config: Parameters) -> None:
    """Raises Fault for resources of a job that SageMaker refuses (API reference, ResourceConfig)."""
    instance_type = config["InstanceType"]
    if config.get("VolumeKmsKeyId") and _local_storage(instance_type):
        raise ServiceError(
            400,
            "ValidationException",
            f"VolumeKmsKeyId is not supported for the instance type {instance_type}, which has local storage",
        )


def _refuse_another_type(endpoint: FakeEndpoint, before: FleetSettings, after: FleetSettings) -> None:
    if before.instance_type != after.instance_type and scaled(endpoint.endpoint_name):
        raise ServiceError(
            400,
            "ValidationException",
            f"Cannot change the instance type of variant {after.variant} of {endpoint.endpoint_name} from "
            f"{before.instance_type} to {after.instance_type}: it is registered as a scalable target; deregister it "
            "from Application Auto Scaling first",
        )


def _backend() -> Any:
    return sagemaker_backends[ACCOUNT][REGION]
