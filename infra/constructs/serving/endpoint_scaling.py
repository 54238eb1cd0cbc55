"""Instances of an endpoint follow its invocations."""

from aws_cdk import aws_applicationautoscaling as scaling
from constructs import Construct

from infra.constructs.serving.endpoint import Endpoint
from infra.names import VARIANT
from infra.settings import EndpointSettings


class EndpointScaling(Construct):
    """A scalable target on the endpoint's variant, its hours, and target tracking on what each instance has to do."""

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
            scheduled_actions=[
                scaling.CfnScalableTarget.ScheduledActionProperty(
                    scheduled_action_name=f"{endpoint.name}-hours-{number}",
                    schedule=f"cron({hours.cron})",
                    timezone=hours.time_zone,
                    scalable_target_action=scaling.CfnScalableTarget.ScalableTargetActionProperty(
                        min_capacity=hours.min_instances, max_capacity=hours.max_instances
                    ),
                )
                for number, hours in enumerate(settings.instance_hours)
            ]
            or None,
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
                target_value=settings.target_per_min,
                scale_out_cooldown=settings.scale_out_cooldown_s,
                scale_in_cooldown=settings.scale_in_cooldown_s,
            ),
        )
