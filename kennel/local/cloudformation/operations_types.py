"""The CloudFormation types of the Operations stack that ministack lacks: composite alarms, budgets, saved queries."""

import secrets
from typing import Any

from kennel.local import clients
from kennel.local.cloudformation.resource_types import Properties, call, gone_already
from kennel.local.settings import ACCOUNT


def provisioners(endpoint: str) -> dict[str, Any]:
    """The handlers of each type, by type name."""
    return {
        "AWS::CloudWatch::CompositeAlarm": CompositeAlarms(endpoint),
        "AWS::Budgets::Budget": Budgets(endpoint),
        "AWS::Logs::QueryDefinition": QueryDefinitions(endpoint),
    }


class _Named:
    """A type whose resources have the name that the template gives them; another name is another resource."""

    service: str

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def create(self, logical_id: str, properties: Properties, stack_name: str) -> tuple[str, Properties]:
        """Makes the resource; returns its id and attributes."""
        raise NotImplementedError

    def update(self, physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str) -> Any:
        """Puts the resource again."""
        return self.create(logical_id, new, stack_name)

    def _client(self) -> Any:
        return clients.client(self.service, self._endpoint)


class CompositeAlarms(_Named):
    """AWS::CloudWatch::CompositeAlarm."""

    service = "cloudwatch"

    def create(self, logical_id: str, properties: Properties, stack_name: str) -> tuple[str, Properties]:
        """Puts the alarm, new or changed."""
        name = properties.get("AlarmName") or f"{stack_name}-{logical_id}-{secrets.token_hex(4)}"
        call(self._client(), "put_composite_alarm", {**properties, "AlarmName": name})
        (alarm,) = self._client().describe_alarms(AlarmNames=[name], AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
        return name, {"Arn": alarm["AlarmArn"]}

    def delete(self, physical_id: str, properties: Properties) -> None:
        """Removes the alarm."""
        with gone_already():
            self._client().delete_alarms(AlarmNames=[physical_id])


class Budgets(_Named):
    """AWS::Budgets::Budget: a change of subscribers makes a new budget, as on AWS."""

    service = "budgets"

    def create(self, logical_id: str, properties: Properties, stack_name: str) -> tuple[str, Properties]:
        """Makes the budget and its notifications."""
        name = properties["Budget"].get("BudgetName") or f"{stack_name}-{logical_id}"
        call(
            self._client(),
            "create_budget",
            {**properties, "AccountId": ACCOUNT, "Budget": {**properties["Budget"], "BudgetName": name}},
        )
        return name, {}

    def update(self, physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str) -> Any:
        """Changes the amount or the filter; creates the budget again if its subscribers changed."""
        if new.get("NotificationsWithSubscribers") != old.get("NotificationsWithSubscribers"):
            self.delete(physical_id, old)
            return self.create(logical_id, new, stack_name)
        budget = {**new["Budget"], "BudgetName": physical_id}
        call(self._client(), "update_budget", {"AccountId": ACCOUNT, "NewBudget": budget})
        return physical_id, {}

    def delete(self, physical_id: str, properties: Properties) -> None:
        """Removes the budget."""
        with gone_already():
            self._client().delete_budget(AccountId=ACCOUNT, BudgetName=physical_id)


class QueryDefinitions(_Named):
    """AWS::Logs::QueryDefinition, which is known by an id."""

    service = "logs"

    def create(self, logical_id: str, properties: Properties, stack_name: str) -> tuple[str, Properties]:
        """Saves the query."""
        saved = call(self._client(), "put_query_definition", _lower(properties))["queryDefinitionId"]
        return saved, {"QueryDefinitionId": saved}

    def update(self, physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str) -> Any:
        """Saves it again, under the same id."""
        call(self._client(), "put_query_definition", {**_lower(new), "queryDefinitionId": physical_id})
        return physical_id, {"QueryDefinitionId": physical_id}

    def delete(self, physical_id: str, properties: Properties) -> None:
        """Removes the query."""
        with gone_already():
            self._client().delete_query_definition(queryDefinitionId=physical_id)


def _lower(properties: Properties) -> Properties:
    """The API writes its names with a small first letter."""
    return {name[0].lower() + name[1:]: value for name, value in properties.items()}
