"""Instances of an endpoint follow their CPU utilization, or their invocations."""

from aws_cdk import aws_applicationautoscaling as scaling
from constructs import Construct

from infra.constructs.serving.endpoint import INSTANCES, Endpoint
from infra.names import VARIANT
from infra.settings import EndpointSettings


class EndpointScaling(Construct):
    """A scalable target on the endpoint's variant, its hours, and target tracking on the load of each instance.

    Requests are bound by the processors, so that CPU utilization says on every instance type how much of its capacity
    is in use. AWS has no predefined metric for it: "Define a scaling policy" in SageMaker's developer guide gives this
    customized metric.
    """

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

        by_invocations = settings.invocations_per_instance_per_min
        tracking = scaling.CfnScalingPolicy.TargetTrackingScalingPolicyConfigurationProperty(
            target_value=by_invocations or settings.target_cpu_utilization,
            predefined_metric_specification=_invocations() if by_invocations else None,
            customized_metric_specification=None if by_invocations else _cpu_utilization(endpoint.name),
            scale_out_cooldown=settings.scale_out_cooldown_s,
            scale_in_cooldown=settings.scale_in_cooldown_s,
        )
        scaling.CfnScalingPolicy(
            self,
            "Invocations" if by_invocations else "Cpu",
            policy_name=f"{endpoint.name}-{'invocations' if by_invocations else 'cpu'}",
            policy_type="TargetTrackingScaling",
            scaling_target_id=target.ref,
            target_tracking_scaling_policy_configuration=tracking,
        )


def _invocations() -> scaling.CfnScalingPolicy.PredefinedMetricSpecificationProperty:
    return scaling.CfnScalingPolicy.PredefinedMetricSpecificationProperty(
        predefined_metric_type="SageMakerVariantInvocationsPerInstance"
    )


def _cpu_utilization(endpoint_name: str) -> scaling.CfnScalingPolicy.CustomizedMetricSpecificationProperty:
    """The mean of the instances, of which each has 100 percent for each of its processors."""
    return scaling.CfnScalingPolicy.CustomizedMetricSpecificationProperty(
        namespace=INSTANCES,
        metric_name="CPUUtilization",
        dimensions=[
            scaling.CfnScalingPolicy.MetricDimensionProperty(name="EndpointName", value=endpoint_name),
            scaling.CfnScalingPolicy.MetricDimensionProperty(name="VariantName", value=VARIANT),
        ],
        statistic="Average",
        unit="Percent",
    )
