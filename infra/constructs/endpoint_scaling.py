"""Instances of an endpoint follow its invocations."""

from aws_cdk import aws_applicationautoscaling as scaling
from constructs import Construct

from infra.config import Endpoint as EndpointSettings
from infra.constructs.endpoint import VARIANT, Endpoint


class EndpointScaling(Construct):
    """A scalable target on the endpoint's variant, and target tracking on invocations per instance and minute."""

    def __init__(self, scope: Construct, construct_id: str, *, endpoint: Endpoint, settings: EndpointSettings) -> None:
        super().__init__(scope, construct_id)

        target = scaling.CfnScalableTarget(
            self,
            "Target",
            service_namespace="sagemaker",
            scalable_dimension="sagemaker:variant:DesiredInstanceCount",
            resource_id=f"endpoint/{endpoint.name}/variant/{VARIANT}",
            min_capacity=settings.min_instances,
            max_capacity=settings.max_instances,
        )
        target.node.add_dependency(endpoint.resource)

        scaling.CfnScalingPolicy(
            self,
            "Invocations",
            policy_name=f"{endpoint.name}-invocations",
            policy_type="TargetTrackingScaling",
            scaling_target_id=target.ref,
            target_tracking_scaling_policy_configuration=scaling.CfnScalingPolicy.TargetTrackingScalingPolicyConfigurationProperty(
                predefined_metric_specification=scaling.CfnScalingPolicy.PredefinedMetricSpecificationProperty(
                    predefined_metric_type="SageMakerVariantInvocationsPerInstance"
                ),
                target_value=settings.invocations_per_instance_per_min,
                scale_out_cooldown=settings.scale_out_cooldown_s,
                scale_in_cooldown=settings.scale_in_cooldown_s,
            ),
        )
