"""The network of the EC2 training instance: outgoing connections only, no idle cost."""

from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infra.constructs.shared.nag import acknowledge


class Network(Construct):
    """Two public subnets without a NAT gateway, a gateway endpoint for S3, a security group without inbound rules."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr("10.83.0.0/24"),
            max_azs=2,
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="Public",
                    subnet_type=ec2.SubnetType.PUBLIC,
                    cidr_mask=26,
                    map_public_ip_on_launch=False,
                )
            ],
            gateway_endpoints={"S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)},
        )
        acknowledge(
            self.vpc,
            {"AwsSolutions-VPC7": "nothing listens in it, and it is empty but for the hours of a training"},
        )
        self.security_group = ec2.SecurityGroup(
            self,
            "TrainingInstance",
            vpc=self.vpc,
            description="EC2 training: HTTPS out, nothing in",
            allow_all_outbound=False,
        )
        self.security_group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "AWS APIs and package index")
