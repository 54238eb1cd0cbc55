"""Notifications of AWS services: only if the topic's policy and the policy of its key allow them.

Neither refusal is seen by anybody on AWS: the alarm goes off, and nobody is told. ministack 1.5.33 asks neither policy.
"""

from typing import Any

from ministack.core.iam_evaluator import EvalContext, evaluate_resource_policy
from ministack.services import cloudwatch, kms, sns

from kennel.local.iam.authorization import Record
from kennel.local.settings import ACCOUNT, REGION


class Notices:
    """Asks both policies, and writes down what they say."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def install(self) -> None:
        """Has CloudWatch's alarms ask first."""
        upstream = cloudwatch._dispatch_alarm_actions

        def dispatch(alarm: dict[str, Any], old: str, new: str, reason: str) -> None:
            fields = ("AlarmActions", "OKActions", "InsufficientDataActions")
            kept = {field: [arn for arn in alarm.get(field, []) if self._lets_alarm(alarm, arn)] for field in fields}
            upstream({**alarm, **kept}, old, new, reason)

        cloudwatch._dispatch_alarm_actions = dispatch

    def tell(self, service: str, source: str, topic: str, message: str, subject: str) -> None:
        """Publishes as `service`, on behalf of the resource `source`; refused, it only prints."""
        if self._lets(service, source, topic):
            sns.publish_internal(topic, message, subject)

    def _lets_alarm(self, alarm: dict[str, Any], action: str) -> bool:
        return ":sns:" not in action or self._lets("cloudwatch", alarm["AlarmArn"], action)

    def _lets(self, service: str, source: str, topic: str) -> bool:
        attributes = (sns._topics.get(topic) or {}).get("attributes", {})
        asked = {"aws:sourcearn": source, "aws:sourceaccount": ACCOUNT}
        checks = [("sns:Publish", topic, attributes.get("Policy"), asked)]
        if key := attributes.get("KmsMasterKeyId"):
            policy, _ = kms.key_policy_for_arn(key) or ("", "")
            of_key = {**asked, "kms:encryptioncontext:aws:sns:topicarn": topic}
            checks += [(action, key, policy, of_key) for action in ("kms:GenerateDataKey", "kms:Decrypt")]
        return all(self._allowed(service, *check) for check in checks)

    def _allowed(self, service: str, action: str, resource: str, policy: Any, context: dict[str, str]) -> bool:
        principal = f"{service}.amazonaws.com"
        request = EvalContext(
            principal_arn="*",
            principal_type="Service",
            principal_account="",
            action=action,
            resource_arn=resource,
            region=REGION,
            secure_transport=True,
            service_context=context,
        )
        allowed: bool = evaluate_resource_policy(policy, request, service=principal).decision == "Allow"
        self._record.add(principal, action, resource, context, allowed=allowed)
        if not allowed:
            print(f"{principal} may not {action} on {resource}: nobody is told of {context['aws:sourcearn']}")
        return allowed
