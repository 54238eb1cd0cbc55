"""The monthly budget of a stage, and the notifications about it."""

from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.settings import StageSettings

# Percentages of the budget: for the actual and for the forecasted cost of the month.
WARNINGS = (("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100))


class StageBudget(Construct):
    """A monthly budget on what carries the stage's tag.

    Billing knows a tag only once it is activated as a cost allocation tag, which an account does once by hand.
    """

    def __init__(self, scope: Construct, construct_id: str, *, stage: StageSettings, topic: sns.ITopic) -> None:
        super().__init__(scope, construct_id)
        told = budgets.CfnBudget.SubscriberProperty(subscription_type="SNS", address=topic.topic_arn)
        budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=stage.prefix,
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=stage.operations.budget_usd_month, unit="USD"),
                cost_filters={"TagKeyValue": [f"user:kennel:stage${stage.name}"]},
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        notification_type=kind,
                        comparison_operator="GREATER_THAN",
                        threshold=percent,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=[told],
                )
                for kind, percent in WARNINGS
            ],
        )
