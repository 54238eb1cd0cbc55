"""The page for people on the internet: CloudFront, which alone may call the URL, and signs each call."""

from aws_cdk import Fn, Stack
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.api.function_url import FunctionUrl, grant_invoke_url
from infra.constructs.shared.nag import acknowledge


class PageDistribution(Construct):
    """A distribution without a cache, with origin access control to the IAM-protected URL."""

    def __init__(self, scope: Construct, construct_id: str, *, alias: lambda_.Alias, url: FunctionUrl) -> None:
        super().__init__(scope, construct_id)
        access = cloudfront.CfnOriginAccessControl(
            self,
            "Access",
            origin_access_control_config=cloudfront.CfnOriginAccessControl.OriginAccessControlConfigProperty(
                name=f"{Stack.of(self).stack_name}-page",
                origin_access_control_origin_type="lambda",
                signing_behavior="always",
                signing_protocol="sigv4",
            ),
        )
        self.distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment=f"{Stack.of(self).stack_name}: the page",
            default_behavior=cloudfront.BehaviorOptions(
                origin=origins.HttpOrigin(
                    Fn.select(2, Fn.split("/", url.resource.attr_function_url)),
                    protocol_policy=cloudfront.OriginProtocolPolicy.HTTPS_ONLY,
                ),
                allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
                cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
                origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
                viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
            ),
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            price_class=cloudfront.PriceClass.PRICE_CLASS_100,
        )
        resource = self.distribution.node.default_child
        assert isinstance(resource, cloudfront.CfnDistribution)
        # The L2 origin of function URLs wants an L2 URL, which knows one of the two permissions that calling takes.
        resource.add_property_override("DistributionConfig.Origins.0.OriginAccessControlId", access.attr_id)

        acknowledge(
            self.distribution,
            {
                "AwsSolutions-CFR1": "the page is for people anywhere",
                "AwsSolutions-CFR2": "a firewall costs more than it would save: reserved concurrency is the cap",
                "AwsSolutions-CFR3": "the function logs every call; a second log would hold addresses of visitors",
                "AwsSolutions-CFR4": "CloudFront's own domain name leaves no choice; with one of yours, set TLS 1.2",
                "CKV_AWS_68": "a firewall costs more than it would save: reserved concurrency is the cap",
                "CKV_AWS_86": "the function logs every call; a second log would hold addresses of visitors",
                "CKV_AWS_174": "CloudFront's own domain name leaves no choice; with one of yours, set TLS 1.2",
            },
        )
        grant_invoke_url(
            self, alias, principal="cloudfront.amazonaws.com", source_arn=self.distribution.distribution_arn
        )
