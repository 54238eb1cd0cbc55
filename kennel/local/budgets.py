"""The bill of each stage, counted by the hour, and the budgets on it.

An hour of AWS's is a minute here (`speed()`), for the bill as well. Counted is what costs while it is on: the instances
of endpoints, jobs, EC2 and notebooks, by the dated table of prices.
"""

import json
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ministack.services import autoscaling, budgets
from moto.sagemaker.models import sagemaker_backends

from kennel.local.cloudwatch.notifications import Notices
from kennel.local.ec2.instances import launch_template
from kennel.local.settings import ACCOUNT, REGION, speed

MINUTE_S = 60
MONTH_H = 730
FILTER = "user:kennel:stage$"


class Bill:
    """The cost of each stage since the embedded AWS was started."""

    def __init__(self, notices: Notices, prices: Path) -> None:
        """`prices` is a JSON file with `hosting_usd_h`, `training_usd_h`, … of instance types, in USD an hour."""
        self._notices = notices
        self._prices = json.loads(prices.read_text())
        self._spent: dict[str, float] = {}
        self._unknown = set[str]()

    def watch(self) -> None:
        """Adds up the cost and checks the budgets, once in every minute of AWS's, for as long as this process lives."""
        threading.Thread(target=self._watch, name="bill", daemon=True).start()

    def _watch(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(MINUTE_S / speed())
            now = time.monotonic()
            hours, last = (now - last) * speed() / 3600, now
            try:
                for name in list(budgets._budgets):
                    self._follow(budgets._budgets[name], hours)
            except Exception:
                traceback.print_exc()

    def _follow(self, budget: dict[str, Any], hours: float) -> None:
        (tag,) = budget.get("CostFilters", {}).get("TagKeyValue", [""])
        stage = tag.removeprefix(FILTER)
        usd_h = sum(self._of_stage(stage))
        spent = self._spent[stage] = self._spent.get(stage, 0.0) + usd_h * hours
        forecast = spent + usd_h * MONTH_H
        unit = budget["BudgetLimit"]["Unit"]
        budget["CalculatedSpend"] = {
            "ActualSpend": {"Amount": f"{spent:.4f}", "Unit": unit},
            "ForecastedSpend": {"Amount": f"{forecast:.4f}", "Unit": unit},
        }
        for entry in budgets._notification_store.get(budget["BudgetName"], []):
            self._notify(budget, entry, {"ACTUAL": spent, "FORECASTED": forecast})

    def _notify(self, budget: dict[str, Any], entry: dict[str, Any], usd: dict[str, float]) -> None:
        """Tells the subscribers of a threshold once when it is crossed, and again when the budget is another."""
        notification = entry["notification"]
        kind, percent = notification["NotificationType"], float(notification["Threshold"])
        limit = float(budget["BudgetLimit"]["Amount"]) * percent / 100
        state = "ALARM" if usd[kind] > limit else "OK"
        notification["NotificationState"] = state
        told, entry["told"] = entry.get("told"), limit if state == "ALARM" else None
        if entry["told"] in (None, told):
            return
        message = (
            f"AWS Budget Notification\n\nBudget Name: {budget['BudgetName']}\nBudget Type: Cost\n"
            f"Budgeted Amount: ${float(budget['BudgetLimit']['Amount']):,.2f}\nAlert Type: {kind}\n"
            f"Alert Threshold: > ${limit:,.2f}\n{kind} Amount: ${usd[kind]:,.2f}\n"
        )
        arn = f"arn:aws:budgets::{ACCOUNT}:budget/{budget['BudgetName']}"
        for subscriber in entry["subscribers"]:
            if subscriber["SubscriptionType"] == "SNS":
                subject = f"AWS Budgets: {budget['BudgetName']} is exceeded"
                self._notices.tell("budgets", arn, subscriber["Address"], message, subject)

    def _price(self, instance_type: str, usage: str) -> float:
        price = self._prices[f"{usage}_usd_h"].get(instance_type)
        if price is None:
            if instance_type not in self._unknown:
                print(f"The bill omits {instance_type}: the table has no price for {usage}")
            self._unknown.add(instance_type)
            return 0.0
        return float(price)

    def _of_stage(self, stage: str) -> Iterator[float]:
        """The price of an hour of each part that is on."""
        prefix, backend = f"kennel-{stage}-", sagemaker_backends[ACCOUNT][REGION]
        for endpoint in list(backend.endpoints.values()):
            if endpoint.endpoint_name.startswith(prefix):
                config = backend.endpoint_configs[endpoint.endpoint_config_name]
                (variant,) = config.production_variants
                if instance_type := variant.get("InstanceType"):
                    for item in endpoint.production_variants or []:
                        yield int(item["CurrentInstanceCount"]) * self._price(instance_type, "hosting")
        for job in list(backend.training_jobs.values()):
            if job.training_job_name.startswith(prefix) and job.training_job_status == "InProgress":
                yield self._price(job.resource_config["InstanceType"], "training")
        for notebook in list(backend.notebook_instances.values()):
            if notebook.notebook_instance_name.startswith(prefix) and notebook.status == "InService":
                yield self._price(notebook.instance_type, "notebook")
        for group in list(autoscaling._asgs.values()):
            if group["AutoScalingGroupName"].lower().startswith(prefix):
                instance_type = launch_template(group["LaunchTemplate"])["InstanceType"]
                yield len(group["Instances"]) * self._price(instance_type, "ec2")
