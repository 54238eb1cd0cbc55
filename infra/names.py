"""Names of what a stage deploys, written once for the app, the command line and the tests.

They are contracts with deployed stages: another name replaces a resource, or leaves its data behind.
"""

# In the order of a deploy.
PARTS = ("Data", "Training", "Serving", "Api", "Operations")
# Cost allocation and conditions in policies go by it.
STAGE_TAG, DATASET_TAG = "kennel:stage", "kennel:dataset"
# SageMaker's production variant: one to an endpoint.
VARIANT = "primary"

# The dataset bucket: what is trained on, images that callers of the URL upload, pretrained weights of backbones.
DATASETS_PREFIX, INBOX_PREFIX, WEIGHTS_PREFIX = "datasets/", "inbox/", "weights/"
# The model bucket: packages written by jobs, the promoted copies, which no role of a stage can write, the state of
# trainings, and what endpoints answered.
PACKAGES_PREFIX, PROMOTED_PREFIX = "packages/", "promoted/"
CHECKPOINTS_PREFIX, CAPTURES_PREFIX = "checkpoints/", "captures/"

# The Delivery stack, once per account. Its roles are not named Kennel-…: a deploy may change roles of that name.
DELIVERY_STACK = "Kennel-Delivery"
DIFF_ROLE, DEPLOY_ROLE = "github-kennel-diff", "github-kennel-deploy"
GITHUB_ISSUER, GITHUB_AUDIENCE = "token.actions.githubusercontent.com", "sts.amazonaws.com"


def prefix(stage: str) -> str:
    """Name of what a stage has one of, such as its dashboard and its budget; the others' names start with it."""
    return f"Kennel-{stage}"


def stack(stage: str, part: str) -> str:
    """Name of the stack `part` (PARTS) of a stage."""
    return f"{prefix(stage)}-{part}"


def resource(stage: str, name: str) -> str:
    """Name of a resource for services that want lower case: jobs, endpoints, alarms, buckets."""
    return f"{prefix(stage).lower()}-{name}"


def parameter(stage: str, name: str) -> str:
    """Name of an SSM parameter of a stage."""
    return f"/kennel/{stage}/{name}"


def log_group(stage: str, part: str) -> str:
    """Name of one of the stage's own log groups."""
    return f"/kennel/{stage}/{part}"


def endpoint_log_group(endpoint: str) -> str:
    """Name of the log group that SageMaker writes for an endpoint."""
    return f"/aws/sagemaker/Endpoints/{endpoint}"
