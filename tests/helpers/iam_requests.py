"""What somebody might ask of a stage, in words, as a request: what the roles need, and what they must not do."""

from helpers.simulator import Request
from kennel.stage.template_roles import ACCOUNT, KEY_ID, Stacks

REGION = "us-east-1"
OTHER_KEY = KEY_ID.replace("0", "1")


def requests(stacks: Stacks) -> dict[str, Request]:
    """The requests by their words."""
    buckets, (key, key_policy), roles = stacks.buckets(), stacks.key(), stacks.roles()

    def s3(action: str, bucket: str, path: str = "", **context: str) -> Request:
        arn, policy = buckets[bucket]
        keys = {name.replace("_", ":", 1).replace("_", "-"): value for name, value in context.items()}
        return Request(f"s3:{action}", f"{arn}/{path}" if path else arn, keys, policy)

    def through_s3(action: str, bucket: str) -> Request:
        context = {
            "kms:ViaService": f"s3.{REGION}.amazonaws.com",
            "kms:EncryptionContext:aws:s3:arn": buckets[bucket][0],
        }
        return Request(f"kms:{action}", key, context, key_policy)

    def kms(action: str, **context: str) -> Request:
        return Request(f"kms:{action}", key, {f"kms:{name}": value for name, value in context.items()}, key_policy)

    def arn(service: str, rest: str) -> str:
        return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{rest}"

    def sagemaker(action: str, rest: str, **tags: str) -> Request:
        return Request(
            f"sagemaker:{action}",
            arn("sagemaker", rest),
            {f"aws:ResourceTag/kennel:{name}": value for name, value in tags.items()},
        )

    def isolated(action: str, rest: str, network_isolation: str = "true") -> Request:
        keys = {"sagemaker:NetworkIsolation": network_isolation}
        return Request(f"sagemaker:{action}", arn("sagemaker", rest), keys)

    def pass_role(role: str, service: str) -> Request:
        return Request("iam:PassRole", role, {"iam:PassedToService": f"{service}.amazonaws.com"})

    def metric(namespace: str) -> Request:
        return Request("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": namespace})

    def logs(action: str, rest: str) -> Request:
        return Request(f"logs:{action}", arn("logs", f"log-group:{rest}"))

    assets = f"arn:aws:s3:::cdk-kdev-assets-{ACCOUNT}-{REGION}"
    code = next(
        resource
        for statement in roles["JobRole"].statements()
        for resource in statement["Resource"]
        if resource.startswith(f"{assets}/")
    )
    function = arn("lambda", "function:Kennel-dev-Api-ClassifierFunction")
    model_role = roles["ModelRole"].arn
    return {
        # --- datasets ---
        "list the datasets": s3("ListBucket", "StorageDatasets", s3_prefix="datasets/dogs/"),
        "list the whole dataset bucket": s3("ListBucket", "StorageDatasets", s3_prefix=""),
        "list the inbox": s3("ListBucket", "StorageDatasets", s3_prefix="inbox/"),
        "read a dataset's image": s3("GetObject", "StorageDatasets", "datasets/dogs/a.jpg"),
        "list the weights": s3("ListBucket", "StorageDatasets", s3_prefix="weights/resnet50/"),
        "read a backbone's weights": s3("GetObject", "StorageDatasets", "weights/resnet50/a.pt"),
        "write a backbone's weights": s3("PutObject", "StorageDatasets", "weights/resnet50/a.pt"),
        "write a dataset's image": s3("PutObject", "StorageDatasets", "datasets/dogs/a.jpg"),
        "write one with another key": s3(
            "PutObject",
            "StorageDatasets",
            "datasets/dogs/a.jpg",
            s3_x_amz_server_side_encryption_aws_kms_key_id=key.replace(KEY_ID, OTHER_KEY),
        ),
        "write one with S3's key": s3(
            "PutObject", "StorageDatasets", "datasets/dogs/a.jpg", s3_x_amz_server_side_encryption="AES256"
        ),
        "read one over plain HTTP": s3("GetObject", "StorageDatasets", "datasets/a.jpg", aws_SecureTransport="false"),
        "read one over TLS 1.1": s3("GetObject", "StorageDatasets", "datasets/a.jpg", s3_TlsVersion="1.1"),
        "delete a dataset's image": s3("DeleteObject", "StorageDatasets", "datasets/dogs/a.jpg"),
        "read an image of the inbox": s3("GetObject", "StorageDatasets", "inbox/a.jpg"),
        "write into the inbox": s3("PutObject", "StorageDatasets", "inbox/a.jpg"),
        # --- models ---
        "list the packages": s3("ListBucket", "StorageModels", s3_prefix="packages/run/"),
        "list the checkpoints": s3("ListBucket", "StorageModels", s3_prefix="checkpoints/runs/"),
        "list the whole model bucket": s3("ListBucket", "StorageModels", s3_prefix=""),
        "read a package": s3("GetObject", "StorageModels", "packages/run/output/model/model.json"),
        "write a package": s3("PutObject", "StorageModels", "packages/run/output/model/model.json"),
        "tag a package": s3("PutObjectTagging", "StorageModels", "packages/run/output/model/model.json"),
        "delete a package": s3("DeleteObject", "StorageModels", "packages/run/output/model/model.json"),
        "read an old version of a package": s3("GetObjectVersion", "StorageModels", "packages/run/model.json"),
        "list the promoted packages": s3("ListBucket", "StorageModels", s3_prefix="promoted/0a/run/"),
        "read a promoted package": s3("GetObject", "StorageModels", "promoted/0a/run/model.json"),
        "write a promoted package": s3("PutObject", "StorageModels", "promoted/0a/run/model.json"),
        "delete a promoted package": s3("DeleteObject", "StorageModels", "promoted/0a/run/model.json"),
        "read a checkpoint": s3("GetObject", "StorageModels", "checkpoints/runs/a"),
        "write a checkpoint": s3("PutObject", "StorageModels", "checkpoints/runs/a"),
        "delete a checkpoint": s3("DeleteObject", "StorageModels", "checkpoints/runs/a"),
        "write a capture": s3("PutObject", "StorageModels", "captures/kennel-dev-scaled/a.jsonl"),
        "list the captures": s3("ListBucket", "StorageModels", s3_prefix="captures/kennel-dev-scaled/primary/2026/"),
        "read a capture": s3("GetObject", "StorageModels", "captures/kennel-dev-scaled/primary/2026/a.jsonl"),
        "write beside the prefixes": s3("PutObject", "StorageModels", "other/a"),
        # --- other buckets, and buckets themselves ---
        "read the access logs": s3("GetObject", "StorageAccessLogs", "models/log"),
        "write the access logs": s3("PutObject", "StorageAccessLogs", "models/log"),
        "change a bucket's policy": s3("PutBucketPolicy", "StorageModels"),
        "make a bucket public": s3("PutBucketPublicAccessBlock", "StorageModels"),
        "delete a bucket": s3("DeleteBucket", "StorageModels"),
        "list every bucket": Request("s3:ListAllMyBuckets", "*"),
        "read the training code": Request("s3:GetObject", code),
        "list the training code": Request("s3:ListBucket", assets, {"s3:prefix": code.partition("/")[2]}),
        "list CDK's assets": Request("s3:ListBucket", assets, {"s3:prefix": ""}),
        "read another asset": Request("s3:GetObject", f"{assets}/other.zip"),
        "write an asset": Request("s3:PutObject", code),
        "read the datasets of prod": Request("s3:GetObject", "arn:aws:s3:::kennel-prod-data-datasets/datasets/a.jpg"),
        # --- the key ---
        "decrypt a dataset through S3": through_s3("Decrypt", "StorageDatasets"),
        "encrypt a dataset through S3": through_s3("GenerateDataKey", "StorageDatasets"),
        "decrypt a model through S3": through_s3("Decrypt", "StorageModels"),
        "encrypt a model through S3": through_s3("GenerateDataKey", "StorageModels"),
        "decrypt by itself": kms("Decrypt"),
        "decrypt with another key": Request("kms:Decrypt", key.replace(KEY_ID, OTHER_KEY)),
        "hand the key to a service": kms("CreateGrant", GrantIsForAWSResource="true"),
        "hand the key to anyone": kms("CreateGrant", GrantIsForAWSResource="false"),
        "have the key deleted": kms("ScheduleKeyDeletion"),
        "change the key's policy": kms("PutKeyPolicy"),
        # --- SageMaker ---
        "invoke the stage's endpoint": sagemaker("InvokeEndpoint", "endpoint/kennel-dev-scaled", stage="dev"),
        "invoke the fixed endpoint": sagemaker("InvokeEndpoint", "endpoint/kennel-dev-fixed", stage="dev"),
        "invoke the endpoint of prod": sagemaker("InvokeEndpoint", "endpoint/kennel-prod-scaled", stage="prod"),
        "invoke a notebook's endpoint": sagemaker("InvokeEndpoint", "endpoint/kennel-dev-notebook-a"),
        "change the stage's endpoint": sagemaker("UpdateEndpoint", "endpoint/kennel-dev-scaled", stage="dev"),
        "delete the stage's endpoint": sagemaker("DeleteEndpoint", "endpoint/kennel-dev-scaled", stage="dev"),
        "start a training job": isolated("CreateTrainingJob", "training-job/kennel-dev-a"),
        "start a training job with a network": isolated("CreateTrainingJob", "training-job/kennel-dev-a", "false"),
        "start a training job that leaves the network open": sagemaker(
            "CreateTrainingJob", "training-job/kennel-dev-a"
        ),
        "create a notebook's model with a network": isolated("CreateModel", "model/kennel-dev-notebook-a", "false"),
        "tag a training job": sagemaker("AddTags", "training-job/kennel-dev-a"),
        "describe a training job": sagemaker("DescribeTrainingJob", "training-job/kennel-dev-a"),
        "stop a training job": sagemaker("StopTrainingJob", "training-job/kennel-dev-a"),
        "start a training job of prod": sagemaker("CreateTrainingJob", "training-job/kennel-prod-a"),
        **{
            f"{verb.lower()} a notebook's {kind}": sagemaker(f"{verb}{noun}", f"{kind}/kennel-dev-notebook-a")
            for kind, noun in (("model", "Model"), ("endpoint-config", "EndpointConfig"), ("endpoint", "Endpoint"))
            for verb in ("Create", "Describe", "Delete")
        },
        "create a notebook's model": isolated("CreateModel", "model/kennel-dev-notebook-a"),
        "use a notebook's endpoint-config": sagemaker("CreateEndpoint", "endpoint-config/kennel-dev-notebook-a"),
        "describe the stage's model": sagemaker("DescribeModel", "model/Model-1", stage="dev"),
        "describe the stage's endpoint-config": sagemaker(
            "DescribeEndpointConfig", "endpoint-config/Config-1", stage="dev"
        ),
        "describe the stage's endpoint": sagemaker("DescribeEndpoint", "endpoint/kennel-dev-scaled", stage="dev"),
        "describe a model of prod": sagemaker("DescribeModel", "model/Model-1", stage="prod"),
        "delete the stage's model": sagemaker("DeleteModel", "model/Model-1", stage="dev"),
        "describe its notebook": sagemaker("DescribeNotebookInstance", "notebook-instance/kennel-dev-notebook"),
        "stop its notebook": sagemaker("StopNotebookInstance", "notebook-instance/kennel-dev-notebook"),
        "open the notebook": sagemaker("CreatePresignedNotebookInstanceUrl", "notebook-instance/kennel-dev-notebook"),
        "change the notebook": sagemaker("UpdateNotebookInstance", "notebook-instance/kennel-dev-notebook"),
        # --- parameters ---
        "read the model pointer": Request("ssm:GetParameter", arn("ssm", "parameter/kennel/dev/model")),
        "write the model pointer": Request("ssm:PutParameter", arn("ssm", "parameter/kennel/dev/model")),
        "read the run's settings": Request("ssm:GetParameter", arn("ssm", "parameter/kennel/dev/ec2-run")),
        "write the run's settings": Request("ssm:PutParameter", arn("ssm", "parameter/kennel/dev/ec2-run")),
        "read the model pointer of prod": Request("ssm:GetParameter", arn("ssm", "parameter/kennel/prod/model")),
        "register with Session Manager": Request("ssm:UpdateInstanceInformation", arn("ec2", "instance/i-1")),
        **{
            f"{words} of Session Manager": Request(f"ssmmessages:{action}", "*")
            for words, action in (
                ("make the control channel", "CreateControlChannel"),
                ("make a data channel", "CreateDataChannel"),
                ("open the control channel", "OpenControlChannel"),
                ("open a data channel", "OpenDataChannel"),
            )
        },
        "run a command on an instance": Request("ssm:SendCommand", arn("ec2", "instance/i-1")),
        # --- roles ---
        "give SageMaker the job's role": pass_role(roles["JobRole"].arn, "sagemaker"),
        "give SageMaker the endpoint's role": pass_role(model_role, "sagemaker"),
        "give Lambda the job's role": pass_role(roles["JobRole"].arn, "lambda"),
        "give SageMaker the notebook's role": pass_role(roles["NotebookRole"].arn, "sagemaker"),
        "give SageMaker an administrator's role": pass_role(f"arn:aws:iam::{ACCOUNT}:role/Administrator", "sagemaker"),
        "become another role": Request("sts:AssumeRole", model_role),
        "widen a role": Request("iam:PutRolePolicy", model_role),
        "take a role's boundary off": Request("iam:DeleteRolePermissionsBoundary", model_role),
        "make a user": Request("iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/me"),
        "make an access key": Request("iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/me"),
        # --- the function ---
        "invoke the function": Request("lambda:InvokeFunction", f"{function}:live"),
        "change the function's code": Request("lambda:UpdateFunctionCode", function),
        "read the function's settings": Request("lambda:GetFunctionConfiguration", function),
        "send a trace": Request("xray:PutTraceSegments", "*"),
        "send a trace's telemetry": Request("xray:PutTelemetryRecords", "*"),
        "read traces": Request("xray:GetTraceSummaries", "*"),
        # --- logs and metrics ---
        "begin the drift log": logs("CreateLogStream", "/kennel/dev/drift:log-stream:a"),
        "write the drift log": logs("PutLogEvents", "/kennel/dev/drift:log-stream:a"),
        "write a metric of the stage": metric("Kennel/dev"),
        "write a metric of prod": metric("Kennel/prod"),
        "begin the function's log": logs("CreateLogStream", "/kennel/dev/classifier:log-stream:a"),
        "write the function's log": logs("PutLogEvents", "/kennel/dev/classifier:log-stream:a"),
        "read the function's log": logs("GetLogEvents", "/kennel/dev/classifier:log-stream:a"),
        "delete the function's log": logs("DeleteLogGroup", "/kennel/dev/classifier"),
        "make the jobs' log group": logs("CreateLogGroup", "/aws/sagemaker/TrainingJobs"),
        "look through the jobs' log group": logs("DescribeLogStreams", "/aws/sagemaker/TrainingJobs"),
        "begin a job's log": logs("CreateLogStream", "/aws/sagemaker/TrainingJobs:log-stream:kennel-dev-a"),
        "write a job's log": logs("PutLogEvents", "/aws/sagemaker/TrainingJobs:log-stream:kennel-dev-a"),
        "read a job's log": logs("GetLogEvents", "/aws/sagemaker/TrainingJobs:log-stream:kennel-dev-a"),
        "write another job's log": logs("PutLogEvents", "/aws/sagemaker/TrainingJobs:log-stream:other"),
        "make the endpoint's log group": logs("CreateLogGroup", "/aws/sagemaker/Endpoints/kennel-dev-scaled"),
        "look through the endpoint's log": logs("DescribeLogStreams", "/aws/sagemaker/Endpoints/kennel-dev-scaled"),
        "begin the endpoint's log": logs("CreateLogStream", "/aws/sagemaker/Endpoints/kennel-dev-scaled:log-stream:a"),
        "write the endpoint's log": logs("PutLogEvents", "/aws/sagemaker/Endpoints/kennel-dev-scaled:log-stream:a"),
        "write the log of prod's endpoint": logs(
            "PutLogEvents", "/aws/sagemaker/Endpoints/kennel-prod-scaled:log-stream:a"
        ),
        "begin the instance's log": logs("CreateLogStream", "/kennel/dev/ec2-training:log-stream:a"),
        "write the instance's log": logs("PutLogEvents", "/kennel/dev/ec2-training:log-stream:a"),
        "write a metric of jobs": metric("/aws/sagemaker/TrainingJobs"),
        "write a metric of endpoints": metric("AWS/SageMaker"),
        "write any metric": metric("Billing"),
        "look at the stage's alarms": Request("cloudwatch:DescribeAlarms", arn("cloudwatch", "alarm:kennel-dev-a")),
        "look at every alarm": Request("cloudwatch:DescribeAlarms", arn("cloudwatch", "alarm:other")),
        "delete the stage's alarms": Request("cloudwatch:DeleteAlarms", arn("cloudwatch", "alarm:kennel-dev-a")),
        # --- deploys, images, instances ---
        "read the stage's outputs": Request(
            "cloudformation:DescribeStacks", arn("cloudformation", "stack/Kennel-dev-Data/1")
        ),
        "read the outputs of prod": Request(
            "cloudformation:DescribeStacks", arn("cloudformation", "stack/Kennel-prod-Data/1")
        ),
        "delete the Serving stack": Request(
            "cloudformation:DeleteStack", arn("cloudformation", "stack/Kennel-dev-Serving/1")
        ),
        "delete a stack": Request("cloudformation:DeleteStack", arn("cloudformation", "stack/Kennel-dev-Data/1")),
        "sign in to the registry": Request("ecr:GetAuthorizationToken", "*"),
        **{
            f"{words} the {what} image": Request(
                f"ecr:{action}",
                f"arn:aws:ecr:{REGION}:763104351884:repository/{repository}",
                account="763104351884",
                resource_policy=_open_registry(action),
            )
            for what, repository in (("training", "pytorch-training"), ("serving", "ray"))
            for words, action in (
                ("check", "BatchCheckLayerAvailability"),
                ("pull", "BatchGetImage"),
                ("load", "GetDownloadUrlForLayer"),
            )
        },
        "push an image": Request("ecr:PutImage", arn("ecr", "repository/ray")),
        "size its group": Request(
            "autoscaling:SetDesiredCapacity",
            arn("autoscaling", "autoScalingGroup:1:autoScalingGroupName/Kennel-dev-ec2-training"),
        ),
        "size another group": Request(
            "autoscaling:SetDesiredCapacity", arn("autoscaling", "autoScalingGroup:1:autoScalingGroupName/web")
        ),
        "start an instance": Request("ec2:RunInstances", arn("ec2", "instance/*")),
        "open the security group": Request("ec2:AuthorizeSecurityGroupIngress", arn("ec2", "security-group/sg-1")),
    }


def _open_registry(action: str) -> dict[str, object]:
    """AWS lets every account pull its containers."""
    statement = {"Effect": "Allow", "Principal": "*", "Action": f"ecr:{action}"}
    return {"Version": "2012-10-17", "Statement": [statement]}
