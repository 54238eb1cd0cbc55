"""The Api stack: the function, its version and alias, concurrency, URL."""

from typing import Any

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from infra.constructs.api.classifier_function import ClassifierFunction
from infra.constructs.api.function_url import FunctionUrl
from infra.constructs.api.page_distribution import PageDistribution
from infra.constructs.data.storage import Storage
from infra.constructs.serving.endpoint import Endpoint
from infra.settings import StageSettings


class ApiStack(Stack):
    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: StageSettings,
        endpoint: Endpoint,
        storage: Storage,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, description="Kennel: the function and its URL", **kwargs)
        # The function knows the endpoint by its constant name: without this, it could be deployed first.
        self.add_stack_dependency(Stack.of(endpoint))

        self.classifier = classifier = ClassifierFunction(
            self, "Classifier", stage=stage, endpoint=endpoint, storage=storage
        )
        url = FunctionUrl(self, "Url", alias=classifier.alias, settings=stage.function)

        CfnOutput(self, "FunctionUrl", value=url.resource.attr_function_url)
        if stage.function.cloudfront:
            page = PageDistribution(self, "Page", alias=classifier.alias, url=url)
            CfnOutput(self, "PageUrl", value=f"https://{page.distribution.distribution_domain_name}/")
        CfnOutput(self, "FunctionName", value=classifier.function.function_name)
        CfnOutput(self, "FunctionRoleArn", value=classifier.role.role_arn)
        CfnOutput(self, "CallersPolicyArn", value=url.callers.managed_policy_arn)
