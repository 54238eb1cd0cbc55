"""A role for the workflows of one GitHub repository, without keys: by the tokens that GitHub gives its jobs."""

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.names import GITHUB_AUDIENCE, GITHUB_ISSUER


class GitHubRole(iam.Role):
    """A role for jobs whose token has exactly one of `subjects`, as in environment:prod or pull_request.

    `repositories` are the forms in which GitHub names the one repository in its tokens. `branch` is the one that the
    job runs on (IAM's condition keys for GitHub's claims: Service Authorization Reference, AWS STS).
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        description: str,
        provider_arn: str,
        repositories: Sequence[str],
        subjects: Sequence[str],
        branch: str | None = None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            role_name=name,
            description=description,
            max_session_duration=Duration.hours(1),
            assumed_by=iam.WebIdentityPrincipal(
                provider_arn,
                {
                    "StringEquals": {
                        f"{GITHUB_ISSUER}:aud": GITHUB_AUDIENCE,
                        f"{GITHUB_ISSUER}:sub": [
                            f"repo:{repository}:{subject}" for repository in repositories for subject in subjects
                        ],
                        **({f"{GITHUB_ISSUER}:ref": f"refs/heads/{branch}"} if branch else {}),
                    }
                },
            ),
        )
