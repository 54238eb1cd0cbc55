"""Changes that CloudFormation or a service would refuse, though each side by itself can be deployed."""

import json
import re
from collections.abc import Iterator
from typing import Any

from kennel.review.differences import name_of
from kennel.review.markdown import code, plain
from kennel.stage.assemblies import Side, Template

# By which property a type has a name of its own; another resource of the name cannot be made before the first one goes.
NAMED = {
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::ECR::Repository": "RepositoryName",
    "AWS::Events::Rule": "Name",
    "AWS::IAM::Role": "RoleName",
    "AWS::KMS::Alias": "AliasName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SSM::Parameter": "Name",
    "AWS::SageMaker::Endpoint": "EndpointName",
    "AWS::SageMaker::NotebookInstance": "NotebookInstanceName",
}


def blockers(base: Side, head: Side) -> list[str]:
    """One sentence in Markdown for each obstacle, with the way round it."""
    return [*_exports_in_use(base, head), *_names_in_use(base, head), *_types_of_what_scales(base, head)]


def _exports_in_use(base: Side, head: Side) -> Iterator[str]:
    imported = {stack: set(_imports(template)) for stack, template in base.templates.items()}
    for stack, template in base.templates.items():
        gone = set(_exports(template)) - set(_exports(head.templates.get(stack, {})))
        for importer, names in imported.items():
            if found := sorted(gone & names):
                yield (
                    f"{plain(stack)} no longer exports {len(found)} value(s) that {plain(importer)} imports "
                    f"({code(found[0])}{', …' if len(found) > 1 else ''}): CloudFormation deletes no export that is in "
                    f"use. Keep them with {code('Stack.export_value')}, deploy, and remove them in a second deploy"
                )


def _exports(template: Template) -> Iterator[str]:
    for output in template.get("Outputs", {}).values():
        name = output.get("Export", {}).get("Name") if isinstance(output, dict) else None
        if isinstance(name, str):
            yield name


def _imports(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "Fn::ImportValue" and isinstance(item, str):
                yield item
            else:
                yield from _imports(item)
    elif isinstance(value, list):
        for item in value:
            yield from _imports(item)


def _names_in_use(base: Side, head: Side) -> Iterator[str]:
    for stack, template in head.templates.items():
        before = base.templates.get(stack, {})
        old = {key: logical_id for logical_id, key in _named(before) if logical_id not in template.get("Resources", {})}
        for logical_id, key in _named(template):
            if logical_id not in before.get("Resources", {}) and key in old:
                kind, name = key
                yield (
                    f"{plain(stack)}: {name_of(template, logical_id)} takes the name {code(name)} from "
                    f"{name_of(before, old[key])}, which is deleted only afterwards: {kind} already exists. Keep its "
                    f"logical id ({code('override_logical_id')}), or take another name"
                )


def _named(template: Template) -> Iterator[tuple[str, tuple[str, str]]]:
    for logical_id, resource in template.get("Resources", {}).items():
        value = resource.get("Properties", {}).get(NAMED.get(resource["Type"], ""))
        if isinstance(value, str):
            yield logical_id, (resource["Type"], value)


def _types_of_what_scales(base: Side, head: Side) -> Iterator[str]:
    for stack, template in head.templates.items():
        before, after = _types(base.templates.get(stack, {})), _types(template)
        scaled = _scaled(base.templates.get(stack, {})) & _scaled(template)
        for variant, instance_type in after.items():
            old = before.get(variant, instance_type)
            if old != instance_type and variant in scaled:
                yield (
                    f"{plain(stack)}: the instance type of {code(variant)} changes from {code(old)} to "
                    f"{code(instance_type)} while it scales: SageMaker refuses that. Deploy without its scaling, then "
                    "with the other type, then with scaling again"
                )


def _types(template: Template) -> dict[str, str]:
    """The instance type of each endpoint's variants, by the name that scaling has for them."""
    resources, found = template.get("Resources", {}), {}
    for resource in resources.values():
        if resource["Type"] != "AWS::SageMaker::Endpoint":
            continue
        properties = resource.get("Properties", {})
        referred = re.search(r'"(?:Ref|Fn::GetAtt)": (?:\[)?"(\w+)"', json.dumps(properties.get("EndpointConfigName")))
        config = resources.get(referred[1], {}) if referred else {}
        for variant in config.get("Properties", {}).get("ProductionVariants", []):
            if "InstanceType" in variant:
                name = f"endpoint/{properties.get('EndpointName')}/variant/{variant.get('VariantName')}"
                found[name] = str(variant["InstanceType"])
    return found


def _scaled(template: Template) -> set[str]:
    return {
        str(resource.get("Properties", {}).get("ResourceId"))
        for resource in template.get("Resources", {}).values()
        if resource["Type"] == "AWS::ApplicationAutoScaling::ScalableTarget"
    }
