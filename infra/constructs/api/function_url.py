"""The URL of a function's alias, and who may call it."""

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.shared.nag import acknowledge
from infra.settings import FunctionSettings


def grant_invoke_url(
    scope: Construct,
    alias: lambda_.Alias,
    *,
    principal: str,
    auth_type: str | None = None,
    source_arn: str | None = None,
) -> None:
    """Gives `principal` the two permissions that calling the URL of `alias` takes."""
    lambda_.CfnPermission(
        scope,
        "InvokeUrl",
        action="lambda:InvokeFunctionUrl",
        function_name=alias.function_arn,
        function_url_auth_type=auth_type,
        principal=principal,
        source_arn=source_arn,
    )
    lambda_.CfnPermission(
        scope,
        "InvokeViaUrl",
        action="lambda:InvokeFunction",
        function_name=alias.function_arn,
        invoked_via_function_url=True,
        principal=principal,
        source_arn=source_arn,
    )


class FunctionUrl(Construct):
    """The URL on the alias. Calling it takes two permissions: InvokeFunctionUrl, and InvokeFunction via the URL."""

    def __init__(
        self, scope: Construct, construct_id: str, *, alias: lambda_.Alias, settings: FunctionSettings
    ) -> None:
        super().__init__(scope, construct_id)
        self.resource = lambda_.CfnUrl(
            self,
            "Url",
            target_function_arn=alias.lambda_.function_arn,
            qualifier=alias.alias_name,
            auth_type=settings.url_auth,
            invoke_mode="BUFFERED",
        )
        self.resource.node.add_dependency(alias)
        if settings.url_auth == "NONE":
            acknowledge(self.resource, {"CKV_AWS_258": settings.public_url_reason})

        # With AWS_IAM the account may hand out the right, and each caller still needs it in a policy of its own.
        principal = "*" if settings.url_auth == "NONE" else Aws.ACCOUNT_ID
        grant_invoke_url(self, alias, principal=principal, auth_type=settings.url_auth)

        self.callers = iam.ManagedPolicy(
            self,
            "Callers",
            description="Attach to whoever may call the Kennel URL",
            statements=[
                iam.PolicyStatement(
                    actions=["lambda:InvokeFunctionUrl"],
                    resources=[alias.function_arn],
                    conditions={"StringEquals": {"lambda:FunctionUrlAuthType": settings.url_auth}},
                ),
                iam.PolicyStatement(
                    actions=["lambda:InvokeFunction"],
                    resources=[alias.function_arn],
                    conditions={"Bool": {"lambda:InvokedViaFunctionUrl": "true"}},
                ),
            ],
        )
