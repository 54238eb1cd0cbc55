"""The CDK app: reads one stage and composes its stacks. `cdk synth -c stage=prod`"""

# ruff: noqa: E402
import signal
import sys

# Ctrl-C ends it at once, the seconds of the imports included, without the tracebacks of Python and jsii.
signal.signal(signal.SIGINT, signal.SIG_DFL)
# isort: split

from aws_cdk import App

from infra.config import ConfigurationError, load_stage
from infra.delivery import add_delivery
from infra.stage import add_stacks

app = App()
try:
    add_stacks(app, load_stage(app.node))
    add_delivery(app, app.node)
except ConfigurationError as error:
    sys.exit(str(error))
app.synth()
